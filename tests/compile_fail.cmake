# Compiles PROGRAM twice with CXX, FLAGS, the headers in INCLUDE, and COMMON, a header that was compiled
# before. As it stands it must compile, without a warning; with WRONG defined it must not, and then:
# - every `// expect: REGEX` line of the file matches the compiler's output;
# - the output has one error, and at most 20 lines: one mistake, one error, one screen.

separate_arguments(FLAGS UNIX_COMMAND "${FLAGS}")
set(compile ${CXX} -std=c++20 -fsyntax-only -Wall -Wextra -fdiagnostics-color=never -I ${INCLUDE}
    ${FLAGS})
if(CXX MATCHES "clang")
  list(APPEND compile -fconstexpr-steps=16777216 -include-pch ${COMMON}.gch)
else()
  list(APPEND compile -Winvalid-pch -include ${COMMON})
endif()

execute_process(COMMAND ${compile} ${PROGRAM} RESULT_VARIABLE failed ERROR_VARIABLE output)
if(failed)
  message(FATAL_ERROR "the right program does not compile:\n${output}")
elseif(output)
  message(FATAL_ERROR "the right program compiles with warnings:\n${output}")
endif()

execute_process(COMMAND ${compile} -D WRONG ${PROGRAM} RESULT_VARIABLE failed ERROR_VARIABLE output)
if(NOT failed)
  message(FATAL_ERROR "the wrong program compiles")
endif()

file(STRINGS ${PROGRAM} expectations REGEX "^// expect: ")
if(NOT expectations)
  message(FATAL_ERROR "the wrong program foretells no error: it has no line `// expect: REGEX`")
endif()
foreach(expectation IN LISTS expectations)
  string(REGEX REPLACE "^// expect: " "" regex "${expectation}")
  if(NOT output MATCHES "${regex}")
    message(FATAL_ERROR "the output does not match '${regex}':\n${output}")
  endif()
endforeach()

string(REGEX MATCHALL "error: " errors "${output}")
list(LENGTH errors error_count)
string(REGEX MATCHALL "\n" lines "${output}")
list(LENGTH lines line_count)
if(error_count GREATER 1 OR line_count GREATER 20)
  message(FATAL_ERROR "${error_count} errors in ${line_count} lines:\n${output}")
endif()
message("${line_count} lines")
