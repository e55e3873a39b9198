/*
 * path_portable.c - the kernels without intrinsics: four lanes, SSE2 on x86-64's baseline.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <hone/op.h>
#include <hone/tensor.h>

#include "kernels.h"

#define HN_TABLE hn_cpu_portable
#define HN_NAME  "portable"
#define HN_LANES 4

#include "leaf_table.h"
