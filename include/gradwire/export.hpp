#pragma once

/// Marks what the library exports; everything else has hidden visibility.
#if defined(GRADWIRE_STATIC)
#define GRADWIRE_EXPORT
#else
#define GRADWIRE_EXPORT __attribute__((visibility("default")))
#endif
