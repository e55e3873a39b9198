/*
 * path_avx512_bf16.c - the kernels for AVX-512 with bf16 dot products (Zen 4, Cooper Lake on).
 */
#ifdef __x86_64__
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <hone/op.h>
#include <hone/tensor.h>

#include "kernels.h"

#define HN_TABLE hn_cpu_avx512_bf16
#define HN_NAME  "avx512_bf16"
#define HN_LANES 16
#define HN_AVX512
#define HN_BF16

/* The target covers what follows: these two compilers spell it differently. */
#ifdef __clang__
#pragma clang attribute push(                                                                      \
	__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,avx512bf16"))),    \
	apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,avx512bf16")
#endif
#include "leaf_table.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int hn_cpu_no_avx512_bf16; /* a translation unit may not be empty */
#endif
