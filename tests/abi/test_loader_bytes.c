/*
 * test_loader_bytes.c - plugin files changed byte by byte, cut, and made of headers alone.
 *
 * Would catch: a read out of bounds, and a file whose code runs although its header says that it
 * must not.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hone/adapter.h>

#include "base/file.h"
#include "loader_place.h"
#include "registry/elf.h"

static uint8_t *
read_bytes(const char *path, size_t *n)
{
	struct hone_error err = {0};
	char *bytes;

	assert_int_equal(hn_file_read(path, 1 << 24, HONE_EIO, &bytes, n, &err), HONE_OK);
	return (uint8_t *)bytes;
}

static void
write_bytes(const char *path, const void *bytes, size_t n)
{
	FILE *file;

	unlink(path); /* a new inode: the old one may be mapped */
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, n, file), n);
	assert_int_equal(fclose(file), 0);
}

/* Offset of the description of our note. */
static size_t
find_note(const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i + 24 <= n; i++)
		if (memcmp(bytes + i, "\5\0\0\0\20\0\0\0\1\0\0\0HONE\0\0\0\0", 20) == 0)
			return i + 20;
	fail_msg("no note");
	return 0;
}

/* Writes `value` at `at` of a copy of the file, and asks for the refusal. */
static void
assert_patch_refused(const char *path, const uint8_t *bytes, size_t n, size_t at, uint32_t value,
	size_t value_bytes, const char *reason)
{
	uint8_t *copy = malloc(n);

	memcpy(copy, bytes, n);
	memcpy(copy + at, &value, value_bytes);
	write_bytes(path, copy, n);
	loader_refused(path, reason);
	free(copy);
}

/* Would catch: a foreign file that reaches dlopen, whose message nobody understands. */
static void
test_loader_foreign_header_is_refused_with_field(void **state)
{
	struct loader_place *place = *state;
	size_t n, note;
	uint8_t *bytes;

	probe_compile(place->file, NULL, NULL);
	bytes = read_bytes(place->file, &n);
	note = find_note(bytes, n);
	const struct {
		size_t at;
		uint32_t value;
		size_t bytes;
		const char *reason;
	} rows[] = {
		{0, 0x21, 1, "format: expected an ELF shared object"},
		{EI_CLASS, ELFCLASS32, 1, "ELF class: found 1, expected 2"},
		{EI_DATA, ELFDATA2MSB, 1, "ELF byte order: found 2, expected 1"},
		{offsetof(Elf64_Ehdr, e_machine), EM_SPARC, 2, "ELF machine: found 2, expected"},
		{offsetof(Elf64_Ehdr, e_type), ET_EXEC, 2, "ELF type: found 2, expected 3"},
		{offsetof(Elf64_Ehdr, e_phnum), 0, 2, "ELF program headers: found 0"},
		{offsetof(Elf64_Ehdr, e_phnum), 60000, 2, "ELF program headers: found 60000"},
		{offsetof(Elf64_Ehdr, e_phentsize), 8, 2, "of 8 bytes"},
		{offsetof(Elf64_Ehdr, e_phoff), 0xfffffff0u, 4, "(program headers)"},
		{note, HONE_ABI + 1, 4,
			"abi: found 0.2 (and it asks for 0.1 at least), expected 0.1"},
		{note, 0x10000, 4, "abi: found 1.0"},
		{note + 4, HONE_ABI + 7, 4, "asks for 0.8 at least"},
		{note + 8, 24, 4, "note.plugin_bytes: found 24 bytes"},
		{note + 8, 4096, 4, "note: found abi 0x1 and 4096 bytes"},
		{note + 12, 8, 4, "note.factory_bytes: found 8 bytes"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		assert_patch_refused(place->file, bytes, n, rows[i].at, rows[i].value,
			rows[i].bytes, rows[i].reason);
	free(bytes);
}

/* Would catch: a read behind the end of a file that lost its tail, and SIGBUS in dlopen. */
static void
test_loader_truncated_file_is_refused_at_every_length(void **state)
{
	struct loader_place *place = *state;
	size_t n, step = 1;
	uint8_t *bytes;

	probe_compile(place->file, NULL, "-s");
	bytes = read_bytes(place->file, &n);
	for (size_t cut = 0; cut < n; cut += step) {
		step = cut < 1024 ? 1 : 97;
		write_bytes(place->file, bytes, cut);
		loader_refused(place->file, cut < 4 && cut > 0 ? "format" : "size: found");
	}
	write_bytes(place->file, bytes, n - 1);
	loader_refused(place->file, "(section headers)");
	free(bytes);
}

/* Would catch: notes or headers that lead the reader out of its buffer.  Damages the headers
 * in every byte; only files that the reader refuses are of interest, so nothing is opened. */
static void
test_loader_damaged_headers_never_crash(void **state)
{
	struct loader_place *place = *state;
	size_t n, note;
	uint8_t *bytes;

	probe_compile(place->file, NULL, NULL);
	bytes = read_bytes(place->file, &n);
	note = find_note(bytes, n);
	/* The ABI in the note is made foreign first: nothing below can reach dlopen. */
	bytes[note + 3] = 0x7f;
	for (size_t at = 16; at < 1024; at++) {
		uint8_t was = bytes[at];

		bytes[at] ^= 0xff;
		write_bytes(place->file, bytes, n);
		loader_refused(place->file, "");
		bytes[at] = was;
	}
	for (size_t at = note - 20; at < note; at++) {
		uint8_t was = bytes[at];

		bytes[at] = 0xff;
		write_bytes(place->file, bytes, n);
		loader_refused(place->file, "");
		bytes[at] = was;
	}
	free(bytes);
}

/* Would catch: a note that is missed because others stand before it or because of its
 * alignment, and small files that the reader takes for sound. */
static void
test_elf_notes_of_small_files(void **state)
{
#if defined(__x86_64__)
	static const struct {
		const char *name, *reason; /* NULL: a note is found */
	} rows[] = {
		{"sound", NULL},
		{"second_note", NULL},
		{"aligned8", NULL},
		{"mixed_alignment", NULL},
		{"other_abi", NULL},
		{"short_desc", "note: found no"},
		{"huge_name", "note: found no"},
		{"huge_desc", "note: found no"},
		{"no_note", "note: found no"},
		{"huge_segment", "(a segment)"},
		{"sections_gone", "(section headers)"},
		{"many_headers", "ELF program headers: found 65535"},
		{"header_cut", "(an ELF header)"},
		{"empty", "(an ELF header)"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char *path = hn_path_join(HONE_SOURCE_DIR "/tests/fuzz/seeds/elf", rows[i].name);
		const int fd = open(path, O_RDONLY | O_CLOEXEC);
		struct hn_elf_note note = {0};
		struct hone_error err = {0};
		struct stat info;
		enum hone_status st;

		assert_int_equal(fstat(fd, &info), 0);
		st = hn_elf_note_read(fd, (uint64_t)info.st_size, &note, &err);
		if (!rows[i].reason && (st || note.plugin_bytes != 72))
			fail_msg("%s: %s", rows[i].name, err.text);
		if (rows[i].reason && (!st || !strstr(err.text, rows[i].reason)))
			fail_msg("%s: %s", rows[i].name, st ? err.text : "accepted");
		(void)close(fd);
		free(path);
	}
#else
	(void)state;
	skip();
#endif
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PLACE(test_loader_foreign_header_is_refused_with_field),
		WITH_PLACE(test_loader_truncated_file_is_refused_at_every_length),
		WITH_PLACE(test_loader_damaged_headers_never_crash),
		cmocka_unit_test(test_elf_notes_of_small_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
