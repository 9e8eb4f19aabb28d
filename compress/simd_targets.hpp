#pragma once

// The instruction sets that the codecs are compiled for, in one place; include it before Highway. SSSE3
// without SSE4 is too old to be worth its code size, and AVX3_DL adds nothing that these loops use.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
