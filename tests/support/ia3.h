/*
 * support/ia3.h - (IA)^3 as an adapter of its own, written against the SDK alone.
 */
#ifndef HN_TEST_IA3_H
#define HN_TEST_IA3_H

#include <hone/plugin.h>
#include <hone/site.h>

struct ia3_values { /* the options of the adapter */
	const struct hone_site_set *target_modules, *feedforward_modules;
};

extern const struct hone_factory ia3_factory;

#endif
