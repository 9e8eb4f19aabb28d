#pragma once

// The instruction sets that the codecs are compiled for, in one place; include it before Highway. SSSE3
// without SSE4 is too old to be worth its code size, and AVX3_DL adds nothing that these loops use.
// Instrumented code is several times as large and slow to compile, so that sanitizers get one set of vectors
// beside the scalar fallback.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GRADWIRE_FEWER_TARGETS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GRADWIRE_FEWER_TARGETS 1
#endif
#endif

#ifdef GRADWIRE_FEWER_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3 | HWY_AVX3_DL)
#else
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#endif
