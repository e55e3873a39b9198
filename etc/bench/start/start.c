/*
 * start.c - a backend for one measurement: the cpu backend until the first command, and then
 * the end of the process.
 *
 * `hone train run.ini --plugin-dir <its folder> --set run.backend=start` goes through all that
 * a run does before it computes, with the program as it is.  At the first submission of
 * commands - the forward pass of the first micro-batch - this writes one line of JSON,
 *
 *     {"clock_s": seconds of CLOCK_MONOTONIC, "cpu_s": processor time, "peak_mb": ...}
 *
 * to stdout and ends the process; who started it has the time before.  etc/bench/run does so.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <hone/backend.h>
#include <hone/plugin.h>

static double
seconds_of(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static enum hone_status
submit(void *device, const struct hone_command *commands, uint32_t n, uint32_t stride,
	const struct hone_run *run, struct hone_error *err)
{
	const double clock_s = seconds_of(CLOCK_MONOTONIC);
	struct rusage usage;
	char line[160];
	int bytes;

	(void)device;
	(void)commands;
	(void)n;
	(void)stride;
	(void)run;
	(void)err;
	(void)getrusage(RUSAGE_SELF, &usage);
	bytes = snprintf(line, sizeof line,
		"{\"clock_s\": %.6f, \"cpu_s\": %.6f, \"peak_mb\": %.1f}\n", clock_s,
		seconds_of(CLOCK_PROCESS_CPUTIME_ID), (double)usage.ru_maxrss * 1024e-6);
	_exit(bytes > 0 && write(STDOUT_FILENO, line, (size_t)bytes) == bytes ? 0 : 1);
}

/* The tables are filled when this file is loaded: what they hold is cpu.so's. */
static struct hone_backend_vt table = {.struct_size = (uint32_t)sizeof table, .submit = submit};
static struct hone_factory factory = {.struct_size = (uint32_t)sizeof factory,
	.role = HONE_ROLE_BACKEND,
	.name = "start",
	.summary = "the cpu backend up to its first command, for etc/bench/run",
	.vt = &table};

__attribute__((constructor)) static void
fill(void)
{
	void *module = dlopen(HONE_BINARY_DIR "/lib/hone/cpu.so", RTLD_NOW | RTLD_LOCAL);
	const struct hone_plugin *cpu = module ? dlsym(module, "hone_plugin_v1") : NULL;
	const struct hone_backend_vt *vt = cpu ? cpu->factories[0]->vt : NULL;

	if (!vt)
		return; /* the host then names the members that this plugin lacks */
	table = *vt;
	table.submit = submit;
	factory.options = cpu->factories[0]->options;
	factory.create = cpu->factories[0]->create;
	factory.destroy = cpu->factories[0]->destroy;
}

static const struct hone_factory *const factories[] = {&factory};
HONE_PLUGIN(start, "0.1.0", "Apache-2.0", factories);
