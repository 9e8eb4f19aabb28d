# cmake -DBUILD=DIR -DEXAMPLES=DIR -P consume.cmake: installs the built project into an empty prefix, builds the examples against
# it as a user would, and runs them, alone and (where the command was installed) as several ranks.
cmake_minimum_required(VERSION 3.25)

set(prefix "${BUILD}/consumer/prefix")
set(consumer "${BUILD}/consumer/build")
file(REMOVE_RECURSE "${BUILD}/consumer")

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT RESULT_VARIABLE status OUTPUT_VARIABLE output ECHO_OUTPUT_VARIABLE)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "this ended with ${status}: ${ARGN}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

function(expect pattern)
  if(NOT output MATCHES "${pattern}")
    message(FATAL_ERROR "the output does not match '${pattern}'")
  endif()
endfunction()

run("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${prefix}")
run("${CMAKE_COMMAND}" -G Ninja -S "${EXAMPLES}" -B "${consumer}" "-DCMAKE_PREFIX_PATH=${prefix}" -DCMAKE_BUILD_TYPE=Release
    # What only the command needs must not be asked of the library's users.
    -DCMAKE_DISABLE_FIND_PACKAGE_ZLIB=ON -DCMAKE_DISABLE_FIND_PACKAGE_CLI11=ON
    -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON)
run("${CMAKE_COMMAND}" --build "${consumer}")

run("${consumer}/allreduce")
expect("rank 0 of 1: mean 1,")
run("${consumer}/training")
expect("rank 0: mean weight 0\\.8")
run("${consumer}/parameter_server")
expect("mean weight 0\\.8.*, the same on both workers")

if(EXISTS "${prefix}/bin/gradwire")
  run("${prefix}/bin/gradwire" run -n 4 -- "${consumer}/allreduce")
  foreach(rank RANGE 3)
    expect("rank ${rank} of 4: mean 2\\.5, ")
  endforeach()
  run("${prefix}/bin/gradwire" run -n 2 -- "${consumer}/training")
  expect("rank 1: mean weight 0\\.8")
endif()

find_program(mpirun mpirun)
if(mpirun AND EXISTS "${consumer}/with_mpi")
  run(sh "${CMAKE_CURRENT_LIST_DIR}/../support/under_mpirun.sh" 2 "${consumer}/with_mpi")
  foreach(rank RANGE 1)
    expect("rank ${rank} of 2: mean 1\\.5")
  endforeach()
endif()
