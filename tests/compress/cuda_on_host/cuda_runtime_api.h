#pragma once

// The part of cuda_runtime.h that has no kernels.

#include "cuda_runtime.h"
