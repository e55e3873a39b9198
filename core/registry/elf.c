/*
 * elf.c - the note of a plugin, out of a file that may be anything.
 *
 *     ELF header -> program headers -> PT_NOTE segments -> notes
 *     note: u32 name bytes, u32 desc bytes, u32 type, name, desc; name and desc padded to 4,
 *           or to 8 in a segment with that alignment
 *
 * System V ABI, chapters 4 and 5.  Only the class, byte order and machine of this build are
 * read further than their identification, so the structs of <elf.h> can be used as they are.
 */
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hone/plugin.h>

#include "base/arena.h"
#include "registry/elf.h"

#define NOTE_BYTES_MAX (64u << 10) /* of one segment; the rest is not looked at */
#define HEADERS_MAX    128         /* program headers; real files have about ten */

#define OUR_CLASS (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32)
#define OUR_DATA  (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB)

#if defined(__x86_64__)
#define OUR_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OUR_MACHINE EM_AARCH64
#elif defined(__riscv)
#define OUR_MACHINE EM_RISCV
#elif defined(__powerpc64__)
#define OUR_MACHINE EM_PPC64
#elif defined(__s390x__)
#define OUR_MACHINE EM_S390
#else
#define OUR_MACHINE EM_NONE /* not compared */
#endif

struct image {
	int fd;
	uint64_t size;
};

static bool
is_inside(const struct image *image, uint64_t offset, uint64_t n)
{
	return n <= image->size && offset <= image->size - n;
}

/* All n bytes or false; a file that has become shorter since fstat gives false. */
static bool
read_at(const struct image *image, uint64_t offset, void *out, size_t n)
{
	uint8_t *to = out;
	ssize_t got;

	if (!is_inside(image, offset, n))
		return false;
	while (n) {
		got = pread(image->fd, to, n, (off_t)offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		to += got;
		offset += (uint64_t)got;
		n -= (size_t)got;
	}
	return true;
}

static enum hone_status
fail_truncated(const struct image *image, const char *what, uint64_t need, struct hone_error *err)
{
	return hone_fail(err, HONE_EPLUGIN,
		"size: found %llu bytes, expected at least %llu (%s); the file is cut short, copy "
		"it again",
		(unsigned long long)image->size, (unsigned long long)need, what);
}

/* Is this an ELF shared object of this machine? */
static enum hone_status
check_identity(const struct image *image, const ElfW(Ehdr) * head, struct hone_error *err)
{
	const char *remedy = "use the build for this machine";

	if (memcmp(head->e_ident, ELFMAG, SELFMAG) != 0)
		return hone_fail(err, HONE_EPLUGIN,
			"format: expected an ELF shared object; this file is something else, "
			"remove it from the folder");
	if (image->size < sizeof *head)
		return fail_truncated(image, "an ELF header", sizeof *head, err);
	if (head->e_ident[EI_CLASS] != OUR_CLASS)
		return hone_fail(err, HONE_EPLUGIN, "ELF class: found %u, expected %d (%d bit); %s",
			head->e_ident[EI_CLASS], (int)OUR_CLASS, (int)sizeof(void *) * 8, remedy);
	if (head->e_ident[EI_DATA] != OUR_DATA)
		return hone_fail(err, HONE_EPLUGIN, "ELF byte order: found %u, expected %d; %s",
			head->e_ident[EI_DATA], (int)OUR_DATA, remedy);
	if (OUR_MACHINE != EM_NONE && head->e_machine != OUR_MACHINE)
		return hone_fail(err, HONE_EPLUGIN, "ELF machine: found %u, expected %d; %s",
			head->e_machine, (int)OUR_MACHINE, remedy);
	if (head->e_type != ET_DYN)
		return hone_fail(err, HONE_EPLUGIN,
			"ELF type: found %u, expected %d (shared object); link it with -shared",
			head->e_type, ET_DYN);
	return HONE_OK;
}

/* Tables of headers must lie in the file.  The section headers are last in what linkers
 * write, so they also tell of a file that lost its end. */
static enum hone_status
check_tables(const struct image *image, const ElfW(Ehdr) * head, struct hone_error *err)
{
	const uint64_t programs = (uint64_t)head->e_phnum * sizeof(ElfW(Phdr));
	const uint64_t sections = (uint64_t)head->e_shnum * head->e_shentsize;

	if (head->e_phentsize != sizeof(ElfW(Phdr)) || !head->e_phnum ||
		head->e_phnum > HEADERS_MAX)
		return hone_fail(err, HONE_EPLUGIN,
			"ELF program headers: found %u of %u bytes, expected 1 to %d of %d; the "
			"file is damaged, copy or build it again",
			head->e_phnum, head->e_phentsize, HEADERS_MAX, (int)sizeof(ElfW(Phdr)));
	if (!is_inside(image, head->e_phoff, programs))
		return fail_truncated(image, "program headers", head->e_phoff + programs, err);
	if (head->e_shoff && !is_inside(image, head->e_shoff, sections))
		return fail_truncated(image, "section headers", head->e_shoff + sections, err);
	return HONE_OK;
}

static uint64_t
round_up(uint64_t n, uint64_t align)
{
	return (n + align - 1) / align * align;
}

/* Finds our note in n bytes of a segment whose notes are padded to `align`. */
static bool
find_note(const uint8_t *bytes, uint64_t n, uint64_t align, struct hn_elf_note *out)
{
	uint64_t at = 0, desc, next;
	uint32_t head[3];

	while (at <= n && n - at >= sizeof head) {
		memcpy(head, bytes + at, sizeof head);
		desc = at + round_up(sizeof head + (uint64_t)head[0], align);
		next = desc + round_up(head[1], align);
		if (desc > n || head[1] > n - desc)
			return false;
		if (head[0] == 5 && head[2] == HONE_NOTE_TYPE && head[1] >= sizeof *out &&
			memcmp(bytes + at + sizeof head, "HONE", 5) == 0) {
			memcpy(out, bytes + desc, sizeof *out);
			return true;
		}
		at = next;
	}
	return false;
}

/* Every segment must lie in the file; the first note of ours is taken. */
static enum hone_status
scan_segments(const struct image *image, const ElfW(Phdr) * programs, uint16_t n, uint8_t *buffer,
	struct hn_elf_note *out, struct hone_error *err)
{
	bool is_found = false;

	for (uint16_t i = 0; i < n; i++) {
		const ElfW(Phdr) *segment = &programs[i];
		uint64_t bytes = segment->p_filesz;
		const uint64_t align = segment->p_align == 8 ? 8 : 4;

		if (bytes && !is_inside(image, segment->p_offset, bytes))
			return fail_truncated(
				image, "a segment", (uint64_t)segment->p_offset + bytes, err);
		if (is_found || segment->p_type != PT_NOTE)
			continue;
		if (bytes > NOTE_BYTES_MAX)
			bytes = NOTE_BYTES_MAX;
		/* Some linkers put notes of both alignments into one segment. */
		is_found = read_at(image, segment->p_offset, buffer, (size_t)bytes) &&
			(find_note(buffer, bytes, align, out) ||
				find_note(buffer, bytes, 12 - align, out));
	}
	if (!is_found)
		return hone_fail(err, HONE_EPLUGIN,
			"note: found no .note.hone, expected one; this is no plugin of hone, or it "
			"was built without HONE_PLUGIN() of hone/plugin.h");
	return HONE_OK;
}

enum hone_status
hn_elf_note_read(int fd, uint64_t size, struct hn_elf_note *out, struct hone_error *err)
{
	const struct image image = {fd, size};
	ElfW(Ehdr) head = {0};
	ElfW(Phdr) programs[HEADERS_MAX];
	struct hn_elf_note note = {0};
	enum hone_status st;
	uint8_t *buffer;
	const size_t n = size < sizeof head ? (size_t)size : sizeof head;

	if (!n || !read_at(&image, 0, &head, n))
		return fail_truncated(&image, "an ELF header", sizeof head, err);
	st = check_identity(&image, &head, err);
	if (!st)
		st = check_tables(&image, &head, err);
	if (st)
		return st;
	if (!read_at(&image, head.e_phoff, programs, head.e_phnum * sizeof programs[0]))
		return fail_truncated(&image, "program headers", size + 1, err);
	buffer = hn_alloc(NOTE_BYTES_MAX);
	st = scan_segments(&image, programs, head.e_phnum, buffer, &note, err);
	free(buffer);
	if (!st)
		*out = note;
	return st;
}
