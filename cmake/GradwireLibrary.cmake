# libgradwire: the objects of all layers, with only what GRADWIRE_EXPORT marks visible.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

get_property(layers GLOBAL PROPERTY GRADWIRE_LAYERS)
get_property(packages GLOBAL PROPERTY GRADWIRE_PACKAGES)
list(REMOVE_DUPLICATES packages)
set(objects "")
foreach(layer IN LISTS layers)
  list(APPEND objects $<TARGET_OBJECTS:gradwire_${layer}_objects>)
endforeach()

add_library(gradwire ${objects})
add_library(gradwire::gradwire ALIAS gradwire)
gradwire_compile_settings(gradwire)
set_target_properties(gradwire PROPERTIES
  LINKER_LANGUAGE CXX VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
# A shared library carries what it needs; who links the static one needs the packages too, and gradwireConfig finds them.
foreach(package IN LISTS packages)
  if(BUILD_SHARED_LIBS)
    target_link_libraries(gradwire PRIVATE $<BUILD_INTERFACE:${package}>)
  else()
    target_link_libraries(gradwire PRIVATE ${package})
  endif()
endforeach()
if(NOT BUILD_SHARED_LIBS)
  target_compile_definitions(gradwire INTERFACE GRADWIRE_STATIC)
endif()
target_include_directories(gradwire PUBLIC
  "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>" "$<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>"
  "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")

# The one public header that names MPI would lead to functions that are not there.
set(headers_left_out "")
if(NOT GRADWIRE_HAS_MPI)
  set(headers_left_out PATTERN "mpi.hpp" EXCLUDE)
endif()
install(TARGETS gradwire EXPORT gradwireTargets)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/gradwire" "${PROJECT_BINARY_DIR}/include/gradwire"
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp" PATTERN "*.h" ${headers_left_out})
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/gradwire")
install(EXPORT gradwireTargets NAMESPACE gradwire:: DESTINATION "${package_dir}")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/gradwireConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/gradwireConfig.cmake" INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/gradwireConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/gradwireConfig.cmake" "${PROJECT_BINARY_DIR}/gradwireConfigVersion.cmake"
        DESTINATION "${package_dir}")
