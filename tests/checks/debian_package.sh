#!/usr/bin/env bash
# The Debian package is for every architecture, names what it depends on, and holds what
# find_package reads.
#
#   debian_package.sh BUILD_DIRECTORY WORK_DIRECTORY CPACK
set -eu
build=$1 work=$2 cpack=$3
command -v dpkg-deb > /dev/null || { echo "skipped: no dpkg-deb here"; exit 77; }
rm -rf "$work"; mkdir -p "$work"
"$cpack" -G DEB --config "$build/CPackConfig.cmake" -B "$work" > "$work/log" || { cat "$work/log"; exit 1; }

package=$(echo "$work"/libnxd-dev_*_all.deb)
dpkg-deb --field "$package" Package Version Architecture Depends
dpkg-deb --field "$package" Depends | grep -q libboost-mpi-dev
dpkg-deb --contents "$package" > "$work/contents"
for file in include/nxd/core/plan.hpp share/cmake/nxd/nxdConfig.cmake share/pkgconfig/nxd.pc; do
  grep -q "\./usr/$file\$" "$work/contents" || { echo "$package lacks /usr/$file"; exit 1; }
done
