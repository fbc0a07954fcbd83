// A struct handed to MPI. Serialized behind the scenes it would arrive, slowly, on every step.
// expect: has_mpi_datatype<.*Token>
// expect: Mpi: this type has no MPI datatype
#include <nxd/comm/mpi.hpp>

using namespace nxd;

struct Token {
  float score;
  int id;
};
#ifdef WRONG
using Sent = Token;
#else
using Sent = float;
#endif

void share(Mpi& mpi, std::span<Sent> best) { mpi.broadcast({0, 1, 2, 0}, 0, best); }
