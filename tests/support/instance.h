/*
 * support/instance.h - an instance of a factory, as the host makes it.
 */
#ifndef HN_TEST_INSTANCE_H
#define HN_TEST_INSTANCE_H

#include <hone/plugin.h>

/* Without a create the values are the instance. */
static inline enum hone_status
instance_make(const struct hone_factory *factory, const struct hone_host *host,
	const struct hone_instance_info *info, const void *values, void **self,
	struct hone_error *err)
{
	if (factory->create)
		return factory->create(host, info, values, self, err);
	*self = (void *)(uintptr_t)values;
	return HONE_OK;
}

static inline void
instance_free(const struct hone_factory *factory, void *self)
{
	if (factory->destroy)
		factory->destroy(self);
}

#endif
