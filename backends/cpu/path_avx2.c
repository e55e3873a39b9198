/*
 * path_avx2.c - the kernels for AVX2 with FMA; bf16 is widened to f32 while it is packed.
 */
#ifdef __x86_64__
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <hone/op.h>
#include <hone/tensor.h>

#include "kernels.h"

#define HN_TABLE hn_cpu_avx2
#define HN_NAME  "avx2"
#define HN_LANES 8
#define HN_AVX2

/* The target covers what follows: these two compilers spell it differently. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif
#include "leaf_table.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int hn_cpu_no_avx2; /* a translation unit may not be empty */
#endif
