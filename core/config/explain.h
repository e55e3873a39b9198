/*
 * config/explain.h - option tables for people (`hone explain`) and for programs (--json).
 *
 *     [lora] r
 *       whole number, at least 1 and at most 4096; default 8
 *       rank of A and B
 *       also read: rank, lora_r
 */
#ifndef HN_CONFIG_EXPLAIN_H
#define HN_CONFIG_EXPLAIN_H

#include "config/config.h"

/* Appends what is known of NAME, which is a section ("lora"), one of its keys ("lora.r"), a key
 * of whatever sections have it ("r", "lr"), or a plugin; NULL lists the names.  HONE_EUSAGE with
 * the nearest name when there is no such thing. */
enum hone_status hn_explain(const struct hn_config_table *tables, size_t n_tables, const char *name,
	struct hn_str *out, struct hone_error *err);

/* The same as a JSON Schema (2020-12) of the section or key, with NULL of a whole configuration;
 * plugins without a section are listed under "plugins", answers in words under "answers". */
enum hone_status hn_explain_json(const struct hn_config_table *tables, size_t n_tables,
	const char *name, struct hn_str *out, struct hone_error *err);

#endif
