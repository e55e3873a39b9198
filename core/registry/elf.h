/*
 * registry/elf.h - what an ELF file says of itself, before any of its code runs.
 *
 * The header HONE_PLUGIN puts a note into every plugin (hone/plugin.h).  It is found through
 * the program headers, as the loader of the system finds them, with preads of a few hundred
 * bytes; sections are not needed and may be stripped.  Everything in the file is hostile:
 * each offset and size is held against the size of the file before it is used.
 */
#ifndef HN_REGISTRY_ELF_H
#define HN_REGISTRY_ELF_H

#include <hone/status.h>

struct hn_elf_note {
	uint32_t abi, abi_min;
	uint32_t plugin_bytes, factory_bytes; /* sizeof of the two structs, as compiled */
};

/* Reads the note of the file behind `fd`, which is `size` bytes long.  HONE_EPLUGIN with
 * "<field>: found ..., expected ...; <remedy>" when it is no shared object for this machine,
 * is cut short, or has no note of ours.  *out is untouched then. */
enum hone_status hn_elf_note_read(
	int fd, uint64_t size, struct hn_elf_note *out, struct hone_error *err);

#endif
