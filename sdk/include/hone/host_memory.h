/*
 * hone/host_memory.h - the functions of a backend whose buffers are plain memory of the host.
 *
 * A device with HONE_DEVICE_HOST_MEMORY addresses buffers by their pointers, so import gives the
 * pointer back, copies are memcpy, and a submit that returns when it is done has nothing to
 * wait for.  These fill the slots of struct hone_backend_vt of that name; where memory comes
 * from, and whose it is, stays the backend's.  All functions: [main].
 */
#ifndef HONE_HOST_MEMORY_H
#define HONE_HOST_MEMORY_H

#include <hone/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

/* buffer_import: the memory itself, which stays the caller's. */
HONE_UNUSED static inline enum hone_status
hone_host_import(
	void *device, void *memory, uint64_t bytes, hone_buffer *out, struct hone_error *err)
{
	(void)device;
	(void)bytes;
	(void)err;
	*out = memory;
	return HONE_OK;
}

/* upload: `bytes` of `from` to `offset` of the buffer. */
HONE_UNUSED static inline enum hone_status
hone_host_upload(void *device, hone_buffer buffer, uint64_t offset, const void *from,
	uint64_t bytes, struct hone_error *err)
{
	(void)device;
	(void)err;
	if (bytes)
		memcpy((uint8_t *)buffer + offset, from, (size_t)bytes);
	return HONE_OK;
}

/* download: the other way. */
HONE_UNUSED static inline enum hone_status
hone_host_download(void *device, hone_buffer buffer, uint64_t offset, void *to, uint64_t bytes,
	struct hone_error *err)
{
	(void)device;
	(void)err;
	if (bytes)
		memcpy(to, (const uint8_t *)buffer + offset, (size_t)bytes);
	return HONE_OK;
}

/* wait: what was submitted is done already. */
HONE_UNUSED static inline enum hone_status
hone_host_wait(void *device, struct hone_error *err)
{
	(void)device;
	(void)err;
	return HONE_OK;
}

#ifdef __cplusplus
}
#endif
#endif
