/*
 * hone/adapter.h - a plugin role: change what a frozen model computes at its sites.
 *
 * An adapter declares parameters and appends nodes; the host allocates, seeds, optimises,
 * saves, restores, merges and exports.  There is no backward: the graph derives it.  At a
 * site the host calls the adapters of the current view in the order of the INI.
 *
 * Shapes are row-major, outermost first.  N = rows of the stream, I = input features, O =
 * output features.  Tags: [declare] no weight is read, nothing is allocated by the plugin;
 * [build] nodes may be appended, ids are valid until the call returns; [pure] no state
 * changes.  Absent functions are NULL.
 */
#ifndef HONE_ADAPTER_H
#define HONE_ADAPTER_H

#include <hone/build.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HONE_ROLE_ADAPTER "hone.adapter/1"

/* What an adapter writes into its export: keys of the adapter_config.json.  [main] */
struct hone_export {
	const struct hone_export_vt *vt;
};

struct hone_export_vt {
	uint32_t struct_size;
	uint32_t pad;
	/* Keys may repeat: the last one wins.  Values are copied.  [main] */
	void (*put_string)(struct hone_export *doc, const char *key, const char *value);
	void (*put_f64)(struct hone_export *doc, const char *key, double value);
	void (*put_i64)(struct hone_export *doc, const char *key, int64_t value);
	void (*put_bool)(struct hone_export *doc, const char *key, int32_t value);
	void (*put_null)(struct hone_export *doc, const char *key);
	/* Module names as PEFT's target_modules, shortest suffixes that name exactly these. */
	void (*put_sites)(
		struct hone_export *doc, const char *key, const struct hone_site_set *set);
	/* {"pattern": number}: sites whose value differs from `common`, which stands under
	 * `common_key`. */
	void (*put_map)(struct hone_export *doc, const char *key, const struct hone_site_map *map,
		const char *common_key, double common);

	/* When an adapter is read, every key put here must say the same, except: `key` says
	 * nothing about what the adapter computes (its start, its training). */
	void (*leave_open)(struct hone_export *doc, const char *key);
	/* ... and a value of `key` that begins with one of "a|b|c" is refused: `why`. */
	void (*refuse)(
		struct hone_export *doc, const char *key, const char *words, const char *why);
};

/* What stands at a site when adapters are merged into the weights. */
struct hone_merge_io {
	uint32_t struct_size;
	uint32_t pad;
	hone_node weight; /* [O,I] f32, dense */
	hone_node bias;   /* [O], 0 = none: then the file has no place for one, and setting it
			   * means that the adapter cannot be merged */
};

enum hone_adapter_flags {
	/* The result is the model itself (full, layerwise): it goes to model/, not adapter/. */
	HONE_ADAPTER_TRAINS_WEIGHTS = 1,
};

struct hone_adapter_vt {
	uint32_t struct_size;
	uint32_t flags; /* enum hone_adapter_flags */

	/* Declares what is trained at `site`, for every site in the model's order, and once with
	 * site = NULL for the instance's own.  Declares nothing where it does not apply.
	 * [declare, pure] */
	enum hone_status (*declare)(const void *self, const struct hone_site *site,
		struct hone_params *params, struct hone_error *err);

	/* Changes a linear site's input: *x, [N,I].  [build, pure] */
	enum hone_status (*input)(const void *self, const struct hone_build *at,
		const struct hone_site *site, hone_node *x, struct hone_error *err);

	/* Changes what a linear or embedding site gives: io->y without bias, and io->bias, which
	 * the host adds last: what multiplies y multiplies the bias, too.
	 * [build, pure] */
	enum hone_status (*output)(const void *self, const struct hone_build *at,
		const struct hone_site *site, struct hone_site_io *io, struct hone_error *err);

	/* Adds keys and values in front of every segment, or changes q, k, v.  [build, pure] */
	enum hone_status (*attention)(const void *self, const struct hone_build *at,
		const struct hone_site *site, struct hone_attention_io *io, struct hone_error *err);

	/* Changes a hidden state [N,D] between layers.  [build, pure] */
	enum hone_status (*hidden)(const void *self, const struct hone_build *at,
		const struct hone_site *site, hone_node *h, struct hone_error *err);

	/* Writes itself into the weight of a site: graph nodes from io to io.  A vector does not
	 * say which axis of [O,I] it runs along: hone_scale_rows is for one number per output,
	 * hone_scale_cols for one per input.  NULL: cannot be merged.  [build, pure] */
	enum hone_status (*merge)(const void *self, const struct hone_build *at,
		const struct hone_site *site, struct hone_merge_io *io, struct hone_error *err);

	/* Fills the export document.  Putting "peft_type" promises that PEFT loads the folder, and
	 * the export's README.md says so; without it the host puts "hone_adapter", the factory's
	 * name, by which hone finds the plugin again, and each option of HONE_OPTION_SITES that is
	 * not put here.  NULL: the host puts all options but those that begin with "init_".
	 * [main, pure] */
	enum hone_status (*describe)(
		const void *self, struct hone_export *doc, struct hone_error *err);

	/* Values of a parameter with HONE_INIT_CALL, row-major f32; only on a fresh run: a result
	 * is read from its file, so such a parameter needs an `export_name`, frozen or not.
	 * `seed` is the parameter's own.  [fill, pure] */
	enum hone_status (*fill)(const void *self, const struct hone_site *site, const char *name,
		uint64_t seed, int64_t n, float *out, struct hone_error *err);
};

#ifdef __cplusplus
}
#endif
#endif
