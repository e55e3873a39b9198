/*
 * hone/option.h - the keys of a section, as a table.
 *
 * A factory describes its keys; the host parses the INI, checks types and ranges, resolves
 * what needs the model (sites, views), and writes the values into the plugin's struct at
 * the given offsets before `create` is called.  The same table prints `hone explain`.  No
 * plugin parses text.
 *
 * The struct is zeroed first, and every option is written: the default when the key is
 * absent.  Strings and lists are owned by the host and valid until the instance is destroyed.
 */
#ifndef HONE_OPTION_H
#define HONE_OPTION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hone_site_set; /* hone/site.h */
struct hone_site_map;

/* Type of a key and of the member it is written to.  Values only grow. */
enum hone_option_type {
	HONE_OPTION_BOOL = 1,   /* int32_t 0 or 1;   yes | no (also true, false, on, off) */
	HONE_OPTION_I64 = 2,    /* int64_t;          42, 1_000; min and max apply */
	HONE_OPTION_F64 = 3,    /* double;           2e-4, 10%; min and max apply */
	HONE_OPTION_STRING = 4, /* const char *;     NULL when absent without default */
	HONE_OPTION_CHOICE = 5, /* int32_t;          index into `choices` ("a|b|c") */
	HONE_OPTION_LIST = 6,   /* struct hone_strings; comma-separated */
	HONE_OPTION_PATH = 7,   /* const char *;     relative to the INI file, made absolute */
	HONE_OPTION_BYTES = 8,  /* int64_t;          512, 64K, 8GiB */
	HONE_OPTION_SITES = 9,  /* const struct hone_site_set *; names, roles, regex, all-linear */
	HONE_OPTION_SITE_MAP = 10, /* const struct hone_site_map *; "pattern: number, ..." */
};

enum hone_option_flags {
	HONE_OPTION_REQUIRED = 1, /* no default, and absence is an error */
	HONE_OPTION_RUNTIME = 2,  /* does not change results; a resumed run may change it */
	HONE_OPTION_OPEN_MIN = 4, /* min itself is out of range */
	HONE_OPTION_OPEN_MAX = 8, /* max itself is out of range */
};

struct hone_strings {
	int64_t n;
	const char *const *items;
};

/* One key.  Arrays of it carry their stride (struct hone_options), so it may grow. */
struct hone_option {
	const char *key;           /* lower snake case, the field's word */
	int32_t type;              /* enum hone_option_type */
	uint32_t flags;            /* enum hone_option_flags */
	uint64_t offset;           /* of the member in the struct of values */
	const char *default_value; /* as text, as it would stand in the INI; NULL = absent */
	double min, max;           /* both 0 = no range */
	const char *choices;       /* "a|b|c" for CHOICE, else NULL */
	const char *aliases;       /* "rank|lora_r": accepted, answered with the key; or NULL */
	const char *help;          /* one line, units included, no full stop */
};

struct hone_options {
	uint32_t stride; /* sizeof(struct hone_option) of the header used */
	uint32_t n;
	uint64_t value_bytes; /* of the struct that offsets point into */
	const struct hone_option *options;
};

#ifdef __cplusplus
}
#endif
#endif
