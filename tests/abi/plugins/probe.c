/*
 * probe.c - a small sound plugin, and by -DPROBE_<fault> one with exactly one fault.
 *
 * Compiled by tests/support/probe.c, which asks the loader for the reason of each refusal.
 */
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <hone/adapter.h>
#include <hone/plugin.h>

#ifdef PROBE_FAST_MATH
#include <xmmintrin.h>

/* What -ffast-math links into a shared object before gcc 13, and some libraries do still. */
__attribute__((constructor)) static void
flush_subnormals(void)
{
	_mm_setcsr(_mm_getcsr() | 0x8040);
}
#endif

struct probe {
	int64_t rank;
	double scale;
};

static const struct hone_option options_list[] = {
	{
		.key = "rank",
		.type = HONE_OPTION_I64,
#ifdef PROBE_OPTION_OUTSIDE
		.offset = 4096,
#else
		.offset = offsetof(struct probe, rank),
#endif
#ifdef PROBE_OPTION_DEFAULT
		.default_value = "many",
#else
		.default_value = "8",
#endif
		.min = 1,
		.max = 64,
		.help = "rank of nothing",
	},
	{
#ifdef PROBE_OPTION_TWICE
		.key = "rank",
#else
		.key = "scale",
#endif
#ifdef PROBE_OPTION_TYPE
		.type = 99,
#else
		.type = HONE_OPTION_F64,
#endif
		.offset = offsetof(struct probe, scale),
		.default_value = "0.5",
		.help = "scale of nothing",
	},
};

static const struct hone_options options = {
	sizeof(struct hone_option), 2, sizeof(struct probe), options_list};

static enum hone_status
probe_declare(const void *self, const struct hone_site *site, struct hone_params *params,
	struct hone_error *err)
{
	(void)self, (void)site, (void)params, (void)err;
#ifdef PROBE_DECLARE_FAILS
	return HONE_EINVAL;
#elif defined(PROBE_DECLARE_STATUS)
	return (enum hone_status)4242;
#else
	return HONE_OK;
#endif
}

static const struct hone_adapter_vt table = {
#ifdef PROBE_VT_SIZE
	.struct_size = 8,
#else
	.struct_size = sizeof(struct hone_adapter_vt),
#endif
#ifndef PROBE_VT_MEMBER
	.declare = probe_declare,
#endif
};

#ifdef PROBE_MISSING_SYMBOL
double hone_symbol_that_nobody_has(double x);
#endif

#ifdef PROBE_SIGNALS
/* What a library does that thinks it is alone in the process. */
__attribute__((constructor)) static void
take_signals(void)
{
	sigset_t all;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, NULL);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)setlocale(LC_ALL, "C.UTF-8");
}
#endif

static enum hone_status
probe_create(const struct hone_host *host, const struct hone_instance_info *info,
	const void *values, void **self, struct hone_error *err)
{
	struct probe *probe;

	(void)host, (void)info, (void)err;
#if defined(PROBE_SIGNALS)
	take_signals();
#endif
#ifdef PROBE_CREATE_FAILS
	(void)probe, (void)values, (void)self;
	return HONE_EINVAL;
#elif defined(PROBE_CREATE_STATUS)
	(void)probe, (void)values, (void)self;
	return (enum hone_status)4242;
#elif defined(PROBE_CREATE_SAYS)
	(void)probe, (void)values, (void)self;
	return hone_fail(err, HONE_EINVAL, "rank = %d does not fit", 8);
#else
	probe = malloc(sizeof *probe);
	memcpy(probe, values, sizeof *probe);
#ifdef PROBE_MISSING_SYMBOL
	probe->scale = hone_symbol_that_nobody_has(probe->scale);
#endif
#if defined(PROBE_CREATE_ROUNDS) && defined(__x86_64__)
	__builtin_ia32_ldmxcsr(0x9fc0);
#endif
	*self = probe;
	return HONE_OK;
#endif
}

static void
probe_destroy(void *self)
{
	free(self);
}

static const struct hone_factory factory = {
#ifdef PROBE_FACTORY_SIZE
	.struct_size = 16,
#else
	.struct_size = sizeof(struct hone_factory),
#endif
#ifdef PROBE_ROLE
	.role = "hone.adaptor/1",
#else
	.role = HONE_ROLE_ADAPTER,
#endif
#ifdef PROBE_SECTION_NAME
	.name = "train",
#elif defined(PROBE_NAME)
	.name = "Probe.1",
#else
	.name = "probe",
#endif
	.summary = "does nothing",
	.options = &options,
#ifndef PROBE_NULL_CREATE
	.create = probe_create,
#endif
	.destroy = probe_destroy,
#ifndef PROBE_NULL_VT
	.vt = &table,
#endif
};

#ifdef PROBE_FACTORY_TWICE
static const struct hone_factory *const factories[] = {&factory, &factory};
#else
static const struct hone_factory *const factories[] = {&factory};
#endif

#if defined(PROBE_NO_NOTE)
HONE_PLUGIN_STRUCT(hone_plugin_v1, probe, "0.1.0", "Apache-2.0", factories);
#elif defined(PROBE_NO_SYMBOL)
HONE_PLUGIN_NOTE;
HONE_PLUGIN_STRUCT(hone_plugin_v0, probe, "0.1.0", "Apache-2.0", factories);
#elif defined(PROBE_PLUGIN_SIZE)
HONE_PLUGIN_NOTE;
__attribute__((visibility("default"))) const struct hone_plugin hone_plugin_v1;
const struct hone_plugin hone_plugin_v1 = {
	16, HONE_ABI, HONE_ABI, 0, "probe", "0.1.0", "Apache-2.0", NULL, NULL, 1, 0, factories};
#elif defined(PROBE_ABI)
HONE_PLUGIN_NOTE;
__attribute__((visibility("default"))) const struct hone_plugin hone_plugin_v1;
const struct hone_plugin hone_plugin_v1 = {sizeof(struct hone_plugin), HONE_ABI + 1, HONE_ABI, 0,
	"probe", "0.1.0", "Apache-2.0", NULL, NULL, 1, 0, factories};
#elif defined(PROBE_ID)
HONE_PLUGIN(other, "0.1.0", "Apache-2.0", factories);
#else
HONE_PLUGIN(probe, "0.1.0", "Apache-2.0", factories);
#endif
