/*
 * minimal.cc - the headers carry a plugin in C++: compiled by etc/lint/headers.sh.
 */
#include <hone/adapter.h>
#include <hone/plugin.h>

static hone_status
declare(const void *, const hone_site *, hone_params *, hone_error *)
{
	return HONE_OK;
}

static const hone_adapter_vt table = {(uint32_t)sizeof table, 0, declare, nullptr, nullptr, nullptr,
	nullptr, nullptr, nullptr, nullptr};

static hone_status
create(const hone_host *, const hone_instance_info *, const void *values, void **self, hone_error *)
{
	*self = const_cast<void *>(values);
	return HONE_OK;
}

static const hone_factory factory = {(uint32_t)sizeof factory, 0, HONE_ROLE_ADAPTER, "minimal",
	"does nothing", nullptr, create, nullptr, &table, nullptr};
static const hone_factory *const factories[] = {&factory};

HONE_PLUGIN(minimal, "0.1.0", "Apache-2.0", factories);
