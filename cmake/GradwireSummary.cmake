message(STATUS "gradwire ${PROJECT_VERSION}: ${CMAKE_BUILD_TYPE}, sanitizers: '${GRADWIRE_SANITIZE}'")
