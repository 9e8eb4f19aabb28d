# A layer is a target with a list of the layers it may see:
#   gradwire_layer(wire SOURCES header.cpp DEPENDS base)
# It makes gradwire_wire, a static library for tests and benchmarks, whose objects also go into libgradwire.
# PACKAGES are imported targets from find_package. ENGINES are those of them that are optional: only the files that
# gradwire_engine_sources() names see their headers, and all others compile the same whether they are there or not.
set_property(GLOBAL PROPERTY GRADWIRE_LAYERS "")
set_property(GLOBAL PROPERTY GRADWIRE_PACKAGES "")

function(gradwire_compile_settings target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  # The canonical arithmetic: no contraction into fused multiply-adds anywhere, and on devices division, square roots and denormals
  # as IEEE has them. What nvcc hands to the host's compiler stands between its own lines, which -Wpedantic and others complain of.
  set(warnings -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion $<$<BOOL:${GRADWIRE_WERROR}>:-Werror>)
  set(cuda_options
    # CMake knows CUDA_STANDARD 20 since 3.26.
    --std=c++20 --fmad=false --prec-div=true --prec-sqrt=true --ftz=false --expt-relaxed-constexpr
    -Xptxas=--warn-on-spills,--warn-on-local-memory-usage $<$<BOOL:${GRADWIRE_WERROR}>:-Xptxas=--warning-as-error>
    -Xcompiler=-Wall,-Wextra,-ffp-contract=off $<$<BOOL:${GRADWIRE_WERROR}>:--Werror=all-warnings>)
  target_compile_options(${target} PRIVATE
    "$<$<COMPILE_LANGUAGE:CXX>:${warnings};-ffp-contract=off>" "$<$<COMPILE_LANGUAGE:CUDA>:${cuda_options}>")
  set_target_properties(${target} PROPERTIES
    CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    CUDA_VISIBILITY_PRESET hidden)
  if(GRADWIRE_SANITIZE)
    list(JOIN GRADWIRE_SANITIZE "," sanitizers)
    target_compile_options(${target} PUBLIC -fsanitize=${sanitizers} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(${target} PUBLIC -fsanitize=${sanitizers})
  endif()
  if(GRADWIRE_BUILD_FUZZ)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
endfunction()

# Reading the standard library's headers and fmt's takes half of a file's compilation: they are read once. What shows which header a
# file has forgotten to include is -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON, and ./dev lint.
set(gradwire_common_headers
  <algorithm> <array> <atomic> <chrono> <condition_variable> <cstdint> <cstring> <functional> <map> <memory> <mutex> <optional>
  <span> <string> <thread> <vector> <fmt/format.h>)
function(gradwire_precompile target)
  if(NOT TARGET gradwire_common_headers)
    file(CONFIGURE OUTPUT common_headers.cpp CONTENT "")
    add_library(gradwire_common_headers OBJECT "${CMAKE_CURRENT_BINARY_DIR}/common_headers.cpp")
    gradwire_compile_settings(gradwire_common_headers)
    target_link_libraries(gradwire_common_headers PRIVATE fmt::fmt)
    target_precompile_headers(gradwire_common_headers PRIVATE ${gradwire_common_headers})
  endif()
  # What is read must not differ by a definition.
  target_compile_definitions(${target} PRIVATE $<TARGET_PROPERTY:fmt::fmt,INTERFACE_COMPILE_DEFINITIONS>)
  target_precompile_headers(${target} REUSE_FROM gradwire_common_headers)
endfunction()

function(gradwire_internal_includes target)
  target_include_directories(${target} PUBLIC
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>" "$<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>"
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>" "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>")
endfunction()

# gradwire_engine_sources(MPI::MPI_CXX mpi/mpi_link.cpp ...)
function(gradwire_engine_sources package)
  get_target_property(folders ${package} INTERFACE_INCLUDE_DIRECTORIES)
  # Those in which the compiler looks anyway have a place in its order.
  list(REMOVE_ITEM folders ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
  if(folders)
    list(TRANSFORM folders PREPEND "-isystem")
    set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS "${folders}")
  endif()
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_DEFINITIONS "$<TARGET_PROPERTY:${package},INTERFACE_COMPILE_DEFINITIONS>")
endfunction()

function(gradwire_layer name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS;PACKAGES;ENGINES" ${ARGN})
  set(objects gradwire_${name}_objects)
  add_library(${objects} OBJECT ${arg_SOURCES})
  gradwire_compile_settings(${objects})
  gradwire_precompile(${objects})
  gradwire_internal_includes(${objects})
  add_library(gradwire_${name} STATIC $<TARGET_OBJECTS:${objects}>)
  set_target_properties(gradwire_${name} PROPERTIES LINKER_LANGUAGE CXX)
  gradwire_compile_settings(gradwire_${name})
  gradwire_internal_includes(gradwire_${name})
  foreach(layer IN LISTS arg_DEPENDS)
    target_link_libraries(gradwire_${name} PUBLIC gradwire_${layer})
  endforeach()
  foreach(package IN LISTS arg_PACKAGES)
    target_link_libraries(${objects} PRIVATE ${package})
    target_link_libraries(gradwire_${name} PUBLIC ${package})
  endforeach()
  foreach(package IN LISTS arg_ENGINES)
    target_link_libraries(gradwire_${name} PUBLIC $<LINK_ONLY:${package}>)
  endforeach()
  set_property(GLOBAL APPEND PROPERTY GRADWIRE_LAYERS ${name})
  set_property(GLOBAL APPEND PROPERTY GRADWIRE_PACKAGES ${arg_PACKAGES} ${arg_ENGINES})
endfunction()
