/*
 * hone/plugin.h - what a plugin exports: one const struct, and a note in its ELF file.
 *
 * A .so exports the data symbol `hone_plugin_v1` and nothing else.  It holds any number of
 * factories; a factory is a role ("hone.adapter/1"), a name ("lora"), the table of its keys,
 * and a function that makes an instance for a section of the INI and a model.  The ELF note
 * repeats the ABI numbers, so that the host refuses a foreign file before it runs any of it.
 *
 *     static const struct hone_factory lora = {...};
 *     static const struct hone_factory *const factories[] = {&lora};
 *     HONE_PLUGIN(lora, "0.1.0", "Apache-2.0", factories);
 *
 * Lifecycle: load, create*, (role functions)*, destroy*; a plugin is never unloaded.  No
 * state outside instances.  Unknown trailing members of a struct are ignored; a NULL
 * optional function means "does not apply".
 */
#ifndef HONE_PLUGIN_H
#define HONE_PLUGIN_H

#include <hone/host.h>
#include <hone/option.h>
#include <hone/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HONE_ABI_MAJOR 0
#define HONE_ABI_MINOR 1
#define HONE_ABI       ((uint32_t)HONE_ABI_MAJOR << 16 | (uint32_t)HONE_ABI_MINOR)

/* True when table `p` reaches to the end of member `m` of type `T` and holds it. */
#define HONE_HAS(p, T, m) ((p)->struct_size >= offsetof(T, m) + sizeof((p)->m) && (p)->m)

/* Where an instance belongs.  Valid during `create`; strings live as long as the instance. */
struct hone_instance_info {
	uint32_t struct_size;
	uint32_t pad;
	const char *section; /* "lora" or "lora.second": also the prefix of its names */
	const char *model;   /* "policy", or NULL for what belongs to no model */
};

struct hone_factory {
	uint32_t struct_size;
	uint32_t pad;
	const char *role;                   /* HONE_ROLE_... */
	const char *name;                   /* as in the INI: adapter = <name>, section [<name>] */
	const char *summary;                /* one line for people */
	const struct hone_options *options; /* NULL = no keys */

	/* Makes an instance.  `values` is the struct that `options` describes, filled and
	 * checked, owned by the host, valid until destroy.  On error *self is untouched.
	 * Optional: absent = the values are the instance (NULL without options), and there is
	 * nothing to destroy.  [main] */
	enum hone_status (*create)(const struct hone_host *host,
		const struct hone_instance_info *info, const void *values, void **self,
		struct hone_error *err);
	void (*destroy)(void *self); /* absent: nothing to free.  [main] */

	const void *vt; /* the role's table, for instance struct hone_adapter_vt */

	/* Further tables of this factory by id, NULL when it has none.  Optional.
	 * [any thread, pure] */
	const void *(*get_extension)(const char *id);
};

struct hone_plugin {
	uint32_t struct_size;
	uint32_t abi;        /* HONE_ABI of the headers it was built with */
	uint32_t abi_min;    /* lowest host ABI that it can live with */
	uint32_t flags;      /* 0 */
	const char *id;      /* the file's name without .so; reverse DNS for third parties */
	const char *version; /* semantic version */
	const char *license; /* SPDX expression */

	/* Optional; once per process, before any create and after the last destroy.  [main] */
	enum hone_status (*init)(const struct hone_host *host, struct hone_error *err);
	void (*shutdown)(void);

	uint32_t n_factories;
	uint32_t pad;
	const struct hone_factory *const *factories;
};

/* The ELF note that the host reads before it loads a file: owner "HONE", type 1. */
#define HONE_NOTE_TYPE 1u
struct hone_plugin_note {
	uint32_t name_bytes, desc_bytes, type;
	char name[8];
	uint32_t abi, abi_min, plugin_bytes, factory_bytes;
};

#ifdef __cplusplus
#define HONE_EXTERN_C extern "C"
#else
#define HONE_EXTERN_C extern
#endif

#define HONE_PLUGIN_NOTE                                                                           \
	__attribute__((section(".note.hone"), used,                                                \
		aligned(4))) static const struct hone_plugin_note hone_plugin_note_v1 = {5, 16,    \
		HONE_NOTE_TYPE, "HONE", HONE_ABI, HONE_ABI, (uint32_t)sizeof(struct hone_plugin),  \
		(uint32_t)sizeof(struct hone_factory)}

#define HONE_PLUGIN_STRUCT(symbol, name, version, license, list)                                   \
	HONE_EXTERN_C __attribute__((visibility("default"))) const struct hone_plugin symbol;      \
	const struct hone_plugin symbol = {(uint32_t)sizeof(struct hone_plugin), HONE_ABI,         \
		HONE_ABI, 0, #name, version, license, NULL, NULL,                                  \
		(uint32_t)(sizeof(list) / sizeof((list)[0])), 0, list}

/* The one exported symbol.  A plugin that is linked into a host (-DHONE_BUILTIN) is the same
 * struct under the name hone_plugin_v1_<name>, and has no note. */
#ifdef HONE_BUILTIN
#define HONE_PLUGIN(name, version, license, list)                                                  \
	HONE_PLUGIN_STRUCT(hone_plugin_v1_##name, name, version, license, list)
#else
#define HONE_PLUGIN(name, version, license, list)                                                  \
	HONE_PLUGIN_NOTE;                                                                          \
	HONE_PLUGIN_STRUCT(hone_plugin_v1, name, version, license, list)
#endif

#ifdef __cplusplus
}
#endif
#endif
