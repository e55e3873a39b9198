/*
 * registry/verify.h - is a plugin's struct what the headers say?
 *
 * The last check before anything of a plugin is called, for plugins from files and for those
 * that are linked in.  A fault is the plugin author's, so each message names the member, what
 * was found, what was expected and what to do.
 */
#ifndef HN_REGISTRY_VERIFY_H
#define HN_REGISTRY_VERIFY_H

#include <hone/plugin.h>

#include "base/str.h"

/* Sizes that the structs of ABI 0.1 have: what a plugin must at least bring. */
#define HN_PLUGIN_BYTES_MIN                                                                        \
	(offsetof(struct hone_plugin, factories) + sizeof(((struct hone_plugin *)0)->factories))
#define HN_FACTORY_BYTES_MIN (offsetof(struct hone_factory, get_extension) + sizeof(void (*)(void)))

/* Can a plugin of ABI `abi`, which asks for at least `abi_min`, live with this host?  The
 * major number must agree; while it is 0, the minor too. */
enum hone_status hn_verify_abi(uint32_t abi, uint32_t abi_min, struct hone_error *err);

/* A struct is as long as this host needs it; `field` names it. */
enum hone_status hn_verify_size(
	const char *field, uint64_t found, uint64_t expected, struct hone_error *err);

/* Everything about the plugin.  `id` is what its id must be, NULL = any.  Appends to
 * `remarks` what a person should know and what is no fault: roles of a newer host. */
enum hone_status hn_verify_plugin(const struct hone_plugin *plugin, const char *id,
	struct hn_str *remarks, struct hone_error *err);

/* The word of a role for people: "adapter" of "hone.adapter/1"; n bytes, always terminated. */
void hn_role_word(const char *role, char *out, size_t n);

#endif
