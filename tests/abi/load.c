/*
 * load.c - loads the plugins of a folder as hone does, and makes an instance of each factory.
 *
 *     abi_load FOLDER NAME...      fails unless exactly these factories are there
 *
 * No test by itself: tests/abi/template.sh runs it on what was built outside the tree.
 */
#include <stdio.h>
#include <string.h>

#include "registry/registry.h"

static int
fail(const struct hone_error *err)
{
	char text[1024];

	hn_error_format(err, text, sizeof text);
	(void)fprintf(stderr, "%s\n", text);
	return 1;
}

int
main(int argc, char **argv)
{
	const char *dirs[] = {argc > 1 ? argv[1] : ""};
	const struct hn_registry_request request = {
		.search = {.dirs = dirs, .n_dirs = 1, .only_dirs = true}};
	const struct hn_instance_spec spec = {.model = "policy"};
	const struct hn_registered *one;
	struct hn_registry *registry;
	struct hone_error err = {0};
	size_t n = 0;

	if (hn_registry_create(&registry, &request, &err))
		return fail(&err);
	for (size_t i = 0; i < hn_registry_report(registry)->n; i++) {
		const struct hn_loader_entry *entry = &hn_registry_report(registry)->entries[i];

		(void)printf("%s: %s\n", entry->path, entry->reason ? entry->reason : "loaded");
	}
	while ((one = hn_registry_at(registry, NULL, n))) {
		struct hn_instance *instance;

		if ((int)n + 2 >= argc || strcmp(argv[n + 2], one->factory->name) != 0)
			return fprintf(stderr, "unexpected: %s\n", one->factory->name), 1;
		if (hn_instance_create(&instance, registry, one, &spec, &err))
			return fail(&err);
		hn_instance_destroy(instance);
		n++;
	}
	hn_registry_destroy(registry);
	return (int)n + 2 == argc ? 0 : 1;
}
