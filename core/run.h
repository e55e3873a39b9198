/*
 * run.h - a run: the stages that every command begins with, and what they hand over.
 *
 *     config -> registry -> model -> declare
 *
 * After hn_run_open everything in here is frozen: options are checked, plugins loaded, the
 * model's file mapped, sites and parameters known.  No weight was read and no memory of a
 * device was asked for; session.h goes on from here, as far as the memory plan for check and plan.
 */
#ifndef HN_RUN_H
#define HN_RUN_H

#include "base/log.h"
#include "base/pool.h"
#include "config/host_options.h"
#include "data/vocabulary.h"
#include "graph/build.h"
#include "graph/custom.h"
#include "graph/program.h"
#include "registry/registry.h"

enum { HN_RUN_ADAPTERS = 16 };

/* What the command line says. */
struct hn_run_request {
	const char *path; /* of the INI file */
	const char *text; /* its content, when it is not to be read (a resumed folder's) */
	const char *const *sets;
	size_t n_sets;
	const char *const *plugin_dirs;
	size_t n_plugin_dirs;
	const struct hone_plugin *const *builtins; /* linked in; main knows them */
	size_t n_builtins;
	const char *preset_dir;
	struct hn_log *log;
	bool is_model_only; /* `text` may name no objective: nothing trains or is evaluated */
};

struct hn_run {
	const struct hn_run_request *request;
	struct hn_log *log;
	struct hn_services services;
	struct hn_registry *registry;
	struct hn_config *config;
	struct hn_diagnostics diagnostics;
	bool is_plugin_refused; /* the INI names a plugin whose file was refused: that, not the INI */
	struct hn_host_options options;
	struct hn_model model;
	bool has_model;
	struct hn_instance *architecture, *backend, *fallback, *objective;
	struct hn_instance *adapters[HN_RUN_ADAPTERS];
	struct hn_adapter_ref adapter_refs[HN_RUN_ADAPTERS];
	uint32_t n_adapters;
	struct hn_device devices[2];
	uint32_t n_devices;
	struct hn_custom_ops custom; /* ops of plugins; the last device runs them */
	struct hn_instance *custom_instances[HN_MAX_CUSTOM_OPS];
	struct hone_device_info device_info;
	struct hn_params params;
	struct hn_layout layout;
	struct hn_tokenizer *tokenizer;
	int32_t compute; /* enum hone_dtype: `auto` is decided */
};

/* Runs the stages.  Diagnostics (warnings, and all errors of the configuration) are printed to
 * the log; the returned error is then the first of them.  hn_run_close in any case. */
enum hone_status hn_run_open(
	struct hn_run *run, const struct hn_run_request *request, struct hone_error *err);
void hn_run_close(struct hn_run *run);

/* Only config and registry: what `hone plugins` and `hone explain` need. */
enum hone_status hn_run_open_registry(
	struct hn_run *run, const struct hn_run_request *request, struct hone_error *err);

/* What reading a section of this run's configuration needs. */
struct hn_config_check hn_run_check(struct hn_run *run);

/* A request to build graphs of this run's policy. */
struct hn_build_request hn_run_build_request(const struct hn_run *run, enum hn_build_mode mode);

#endif
