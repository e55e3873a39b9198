/*
 * fuzz_elf.c - any bytes as the file of a plugin, up to the point where its code would run.
 *
 * What is refused says so in one line; what is accepted has a note of ours inside the bytes.
 * Seeds are ELF headers with one program header and one note, made by etc/lint/elf_seeds.py.
 */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arena.h"
#include "registry/elf.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	const int fd = memfd_create("plugin", MFD_CLOEXEC);
	struct hn_elf_note note = {1, 2, 3, 4};
	struct hone_error err = {0};

	HONE_BUG_ON(fd < 0);
	if (n && write(fd, bytes, n) != (ssize_t)n) {
		(void)close(fd);
		return 0;
	}
	if (hn_elf_note_read(fd, n, &note, &err)) {
		HONE_BUG_ON(err.status != HONE_EPLUGIN || !err.text[0]);
		HONE_BUG_ON(strchr(err.text, '\n') || note.abi != 1 || note.factory_bytes != 4);
	} else {
		HONE_BUG_ON(!memmem(bytes, n, &note, sizeof note));
	}
	/* A file that has become shorter since its size was asked. */
	HONE_BUG_ON(!hn_elf_note_read(fd, n + 4096, &note, &err) && n < 64);
	(void)close(fd);
	return 0;
}
