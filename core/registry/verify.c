/*
 * verify.c - plugin, factories and tables of functions, member by member.
 *
 * A role's row says how long its table is in ABI 0.1 and which members must be there.  A role
 * that starts with "hone." and is not listed belongs to a newer host and is left alone; one
 * of another name is a third party's own.
 */
#include <string.h>

#include <hone/adapter.h>
#include <hone/architecture.h>
#include <hone/backend.h>
#include <hone/custom_op.h>
#include <hone/objective.h>
#include <hone/storage.h>

#include "config/host_options.h"
#include "config/option.h"
#include "registry/verify.h"

#define FACTORIES_MAX  1000
#define NAME_BYTES_MAX 48
#define REQUIRED_MAX   12
#define FIELD_BYTES    128
#define MEMBER(type, m)                                                                            \
	{                                                                                          \
		offsetof(struct type, m), #m                                                       \
	}
#define BLOCK_ELEMS_MAX (1u << 20)
#define BLOCK_BYTES_MAX (1u << 24)
#define VALUE_BYTES_MAX (1u << 20)
#define PARTS_MAX       16

struct member {
	size_t offset;
	const char *name;
};

struct role {
	const char *id;
	size_t bytes;                         /* of its table in ABI 0.1 */
	struct member required[REQUIRED_MAX]; /* pointers; ends with a NULL name */
};

static const struct role roles[] = {
	{HONE_ROLE_ARCHITECTURE, sizeof(struct hone_architecture_vt),
		{MEMBER(hone_architecture_vt, model_types), MEMBER(hone_architecture_vt, declare),
			MEMBER(hone_architecture_vt, body), MEMBER(hone_architecture_vt, head)}},
	{HONE_ROLE_ADAPTER, sizeof(struct hone_adapter_vt), {MEMBER(hone_adapter_vt, declare)}},
	{HONE_ROLE_OBJECTIVE, sizeof(struct hone_objective_vt),
		{MEMBER(hone_objective_vt, declare), MEMBER(hone_objective_vt, prepare),
			MEMBER(hone_objective_vt, emit), MEMBER(hone_objective_vt, build)}},
	{HONE_ROLE_BACKEND, offsetof(struct hone_backend_vt, scratch_bytes),
		{MEMBER(hone_backend_vt, device_count), MEMBER(hone_backend_vt, device_info),
			MEMBER(hone_backend_vt, open), MEMBER(hone_backend_vt, close),
			MEMBER(hone_backend_vt, supports), MEMBER(hone_backend_vt, buffer_create),
			MEMBER(hone_backend_vt, buffer_destroy), MEMBER(hone_backend_vt, upload),
			MEMBER(hone_backend_vt, download), MEMBER(hone_backend_vt, submit),
			MEMBER(hone_backend_vt, wait)}},
	{HONE_ROLE_OP, sizeof(struct hone_op_vt),
		{MEMBER(hone_op_vt, infer), MEMBER(hone_op_vt, run)}},
	{HONE_ROLE_STORAGE, offsetof(struct hone_storage_vt, decode_bf16),
		{MEMBER(hone_storage_vt, id), MEMBER(hone_storage_vt, decode)}},
};

static const struct role *
find_role(const char *id)
{
	for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
		if (strcmp(roles[i].id, id) == 0)
			return &roles[i];
	return NULL;
}

enum hone_status
hn_verify_abi(uint32_t abi, uint32_t abi_min, struct hone_error *err)
{
	const uint32_t major = abi >> 16, minor = abi & 0xffff;
	const int is_usable = major == HONE_ABI_MAJOR && abi_min <= HONE_ABI &&
		(HONE_ABI_MAJOR > 0 || minor == HONE_ABI_MINOR);

	if (is_usable)
		return HONE_OK;
	return hone_fail(err, HONE_EPLUGIN,
		"abi: found %u.%u (and it asks for %u.%u at least), expected %d.%d; build it "
		"against the headers of this hone",
		major, minor, abi_min >> 16, abi_min & 0xffff, HONE_ABI_MAJOR, HONE_ABI_MINOR);
}

enum hone_status
hn_verify_size(const char *field, uint64_t found, uint64_t expected, struct hone_error *err)
{
	if (found >= expected)
		return HONE_OK;
	return hone_fail(err, HONE_EPLUGIN,
		"%s: found %llu bytes, expected at least %llu; set it with sizeof, and build "
		"against the headers of this hone",
		field, (unsigned long long)found, (unsigned long long)expected);
}

static enum hone_status
fail_missing(const char *factory, const char *member, struct hone_error *err)
{
	return hone_fail(err, HONE_EPLUGIN, "%s%s%s: found NULL, expected a value; fill it in",
		factory ? factory : "", factory ? "." : "", member);
}

/* May `name` be a section of an INI, or a name in a file? */
static enum hone_status
check_name(const char *role, const char *name, struct hone_error *err)
{
	const char *allowed = "abcdefghijklmnopqrstuvwxyz0123456789_-";
	const struct hn_config_table *sections;
	size_t n;

	if (!*name || strlen(name) > NAME_BYTES_MAX || name[strspn(name, allowed)])
		return hone_fail(err, HONE_EPLUGIN,
			"name of the %s: found '%.60s', expected 1 to %d of a-z 0-9 _ -", role,
			name, NAME_BYTES_MAX);
	sections = hn_host_tables(&n);
	for (size_t i = 0; i < n; i++)
		if (strcmp(sections[i].name, name) == 0)
			return hone_fail(err, HONE_EPLUGIN,
				"name of the %s: found '%s', expected none of hone's own sections; "
				"choose another",
				role, name);
	return HONE_OK;
}

/* What only the table of a storage can have wrong. */
static enum hone_status
check_storage(const struct hone_factory *factory, struct hone_error *err)
{
	const struct hone_storage_vt *vt = factory->vt;

	if (strcmp(vt->id, factory->name) != 0)
		return hone_fail(err, HONE_EPLUGIN,
			"storage '%s'.id: found '%.60s', expected the factory's name",
			factory->name, vt->id);
	if (!vt->block_elems || vt->block_elems > BLOCK_ELEMS_MAX || !vt->block_bytes ||
		vt->block_bytes > BLOCK_BYTES_MAX)
		return hone_fail(err, HONE_EPLUGIN,
			"storage '%s': found blocks of %u elements in %u bytes, expected 1 to %u "
			"in 1 to %u",
			factory->name, vt->block_elems, vt->block_bytes, BLOCK_ELEMS_MAX,
			BLOCK_BYTES_MAX);
	if (!vt->n_parts || vt->n_parts > PARTS_MAX ||
		(vt->n_parts > 1 && (!vt->part_names || !vt->part_bytes)))
		return hone_fail(err, HONE_EPLUGIN,
			"storage '%s'.n_parts: found %u, expected 1 to %d, and part_names and "
			"part_bytes where it is above 1",
			factory->name, vt->n_parts, PARTS_MAX);
	for (uint32_t i = 0; vt->n_parts > 1 && i < vt->n_parts; i++)
		if (!vt->part_names[i])
			return fail_missing(factory->name, "part_names", err);
	return HONE_OK;
}

/* The table of functions of a role that this host knows. */
static enum hone_status
check_table(const struct hone_factory *factory, const struct role *role, struct hone_error *err)
{
	char field[FIELD_BYTES], word[32];
	uint32_t struct_size;
	const void *pointer;
	enum hone_status st;

	hn_role_word(role->id, word, sizeof word);
	(void)snprintf(field, sizeof field, "%s '%s'.vt", word, factory->name);
	if (!factory->vt)
		return fail_missing(field, "struct_size", err);
	memcpy(&struct_size, factory->vt, sizeof struct_size);
	(void)snprintf(field, sizeof field, "%s '%s'.vt.struct_size", word, factory->name);
	st = hn_verify_size(field, struct_size, role->bytes, err);
	if (st)
		return st;
	for (const struct member *m = role->required; m->name; m++) {
		memcpy(&pointer, (const char *)factory->vt + m->offset, sizeof pointer);
		if (pointer)
			continue;
		(void)snprintf(field, sizeof field, "%s '%s'.vt", word, factory->name);
		return fail_missing(field, m->name, err);
	}
	if (strcmp(role->id, HONE_ROLE_STORAGE) == 0)
		return check_storage(factory, err);
	return HONE_OK;
}

static enum hone_status
check_factory(const struct hone_factory *factory, struct hn_str *remarks, struct hone_error *err)
{
	const struct role *role;
	char word[32], owner[FIELD_BYTES];
	enum hone_status st;

	if (!factory)
		return fail_missing("plugin", "factories[]", err);
	st = hn_verify_size("factory.struct_size", factory->struct_size, HN_FACTORY_BYTES_MIN, err);
	if (st)
		return st;
	if (!factory->role || !*factory->role)
		return fail_missing("factory", "role", err);
	if (!factory->name)
		return fail_missing("factory", "name", err);
	hn_role_word(factory->role, word, sizeof word);
	st = check_name(word, factory->name, err);
	if (st)
		return st;
	if (!factory->summary)
		return fail_missing(factory->name, "summary", err);
	if (factory->destroy && !factory->create)
		return fail_missing(factory->name, "create (it has a destroy)", err);
	if (factory->options && factory->options->value_bytes > VALUE_BYTES_MAX)
		return hone_fail(err, HONE_EPLUGIN,
			"%s.options.value_bytes: found %llu, expected at most %u", factory->name,
			(unsigned long long)factory->options->value_bytes, VALUE_BYTES_MAX);
	(void)snprintf(owner, sizeof owner, "%s '%s'", word, factory->name);
	if (factory->options)
		st = hn_options_verify(factory->options, owner, err);
	if (st)
		return st;
	role = find_role(factory->role);
	if (role)
		return check_table(factory, role, err);
	if (hn_starts_with(factory->role, "hone."))
		hn_str_printf(remarks, "%srole '%.60s' of '%s' is not known to this hone",
			remarks->len ? "; " : "", factory->role, factory->name);
	return HONE_OK;
}

/* No role and name twice, and no section with two tables of keys. */
static enum hone_status
check_unique(const struct hone_plugin *plugin, struct hone_error *err)
{
	for (uint32_t i = 0; i < plugin->n_factories; i++) {
		const struct hone_factory *a = plugin->factories[i];

		for (uint32_t j = 0; j < i; j++) {
			const struct hone_factory *b = plugin->factories[j];

			if (strcmp(a->name, b->name) != 0)
				continue;
			if (strcmp(a->role, b->role) == 0 || (a->options && b->options))
				return hone_fail(err, HONE_EPLUGIN,
					"factories: found '%s' twice (%.60s and %.60s), expected "
					"one; rename one",
					a->name, b->role, a->role);
		}
	}
	return HONE_OK;
}

enum hone_status
hn_verify_plugin(const struct hone_plugin *plugin, const char *id, struct hn_str *remarks,
	struct hone_error *err)
{
	enum hone_status st =
		hn_verify_size("plugin.struct_size", plugin->struct_size, HN_PLUGIN_BYTES_MIN, err);

	if (!st)
		st = hn_verify_abi(plugin->abi, plugin->abi_min, err);
	if (st)
		return st;
	if (plugin->flags)
		return hone_fail(
			err, HONE_EPLUGIN, "plugin.flags: found 0x%x, expected 0", plugin->flags);
	if (!plugin->id || !plugin->version || !plugin->license)
		return fail_missing("plugin",
			!plugin->id               ? "id"
				: plugin->version ? "license"
						  : "version",
			err);
	if (id && strcmp(plugin->id, id) != 0)
		return hone_fail(err, HONE_EPLUGIN,
			"plugin.id: found '%.60s', expected '%.60s', the file's name; rename one",
			plugin->id, id);
	if (!plugin->factories || !plugin->n_factories || plugin->n_factories > FACTORIES_MAX)
		return hone_fail(err, HONE_EPLUGIN,
			"plugin.n_factories: found %u, expected 1 to %d and a list",
			plugin->factories ? plugin->n_factories : 0, FACTORIES_MAX);
	for (uint32_t i = 0; i < plugin->n_factories && !st; i++)
		st = check_factory(plugin->factories[i], remarks, err);
	return st ? st : check_unique(plugin, err);
}

void
hn_role_word(const char *role, char *out, size_t n)
{
	const char *word = hn_starts_with(role, "hone.") ? role + 5 : role;

	(void)snprintf(out, n, "%.*s", (int)strcspn(word, "/"), word);
}
