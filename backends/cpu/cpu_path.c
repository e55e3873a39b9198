/*
 * cpu_path.c - which kernels this processor runs: CPUID, and the registers that the
 * operating system saves (XGETBV).
 *
 * Best first.  A path counts only when every feature its compile target names is there; an
 * emulator or an old kernel that leaves the upper registers unsaved rules AVX out.
 */
#include <stdint.h>
#include <string.h>

#include "cpu.h"

#ifdef __x86_64__
#include <cpuid.h>

enum { FEATURE_AVX2 = 1, FEATURE_AVX512 = 2, FEATURE_AVX512_BF16 = 4 };

static uint64_t
saved_registers(void)
{
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

static int
has_all(uint32_t value, uint32_t bits)
{
	return (value & bits) == bits;
}

static uint32_t
features(void)
{
	uint32_t a, b, c, d, b7, saved, found = 0;

	if (!__get_cpuid(1, &a, &b, &c, &d))
		return 0;
	if (!has_all(c, bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C))
		return 0;
	saved = (uint32_t)saved_registers();
	if (!__get_cpuid_count(7, 0, &a, &b7, &c, &d))
		return 0;
	if (has_all(saved, 0x06) && has_all(b7, bit_AVX2))
		found |= FEATURE_AVX2;
	if (!(found & FEATURE_AVX2) || !has_all(saved, 0xe6) ||
		!has_all(b7, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL))
		return found;
	found |= FEATURE_AVX512;
	if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 5)))
		found |= FEATURE_AVX512_BF16;
	return found;
}

static const struct {
	const struct hn_cpu_kernels *kernels;
	uint32_t needs;
} paths[] = {
	{&hn_cpu_avx512_bf16, FEATURE_AVX512_BF16},
	{&hn_cpu_avx512, FEATURE_AVX512},
	{&hn_cpu_avx2, FEATURE_AVX2},
	{&hn_cpu_portable, 0},
};
#else
static uint32_t
features(void)
{
	return 0;
}

static const struct {
	const struct hn_cpu_kernels *kernels;
	uint32_t needs;
} paths[] = {
	{&hn_cpu_portable, 0},
};
#endif

const struct hn_cpu_kernels *
cpu_path_find(const char *name)
{
	const uint32_t found = features();

	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		if (name && strcmp(paths[i].kernels->name, name) != 0)
			continue;
		if ((found & paths[i].needs) == paths[i].needs)
			return paths[i].kernels;
	}
	return NULL;
}
