/*
 * main.c - the program: which plugins are linked in, and nothing else
 * but a look at the stack, before anything needs it.
 *
 * The reference backend is the definition of right and always there; it is a plugin like
 * every other, only that its file is this one.
 */
#include "base/guard.h"
#include "commands/command.h"

extern const struct hone_plugin hone_plugin_v1_reference;

int
main(int argc, char **argv)
{
	const struct hone_plugin *const builtins[] = {&hone_plugin_v1_reference};
	const int code = hn_guard_stack();

	return code ? code : hn_main(argc, argv, builtins, 1);
}
