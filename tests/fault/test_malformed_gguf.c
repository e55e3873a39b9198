/*
 * test_malformed_gguf.c - GGUF files with one fault each.
 *
 * A fault is a patch of a valid file made here; make_gguf() keeps the place of each field.  The
 * numbers are those of the catalogue of bad inputs: 48-55.  Would catch: a count, length, type
 * or offset of the file that is believed.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "modelfile.h"
#include "refused.h"

#include "model/gguf.h"

enum place {
	MAGIC,
	VERSION,
	N_TENSORS,
	N_KV,
	KEY_LEN,
	KEY_TYPE,
	ALIGNMENT_TYPE,
	ALIGNMENT,
	STRING_LEN,
	STRING,
	ARRAY_TYPE,
	ARRAY_COUNT,
	ARRAY_STRING_LEN,
	FLAG_KEY,
	FLAG,
	FLAGS,
	NAME_LEN,
	NAME,
	N_DIMS,
	NE0,
	NE1,
	TYPE,
	OFFSET,
	NAME_2,
	OFFSET_2,
	N_PLACES
};

/* Two tensors, "one" of [2, 32] in q8_0 and "two" of [4] in f32; metadata of each kind. */
static void
make_gguf(struct hn_str *out, size_t at[N_PLACES])
{
	at[MAGIC] = 0;
	at[VERSION] = 4;
	at[N_TENSORS] = 8;
	at[N_KV] = 16;
	at[KEY_LEN] = 24;
	test_put_gguf(out, 3, 2, 5);
	at[KEY_TYPE] = out->len + 8 + strlen("general.architecture");
	at[STRING_LEN] = at[KEY_TYPE] + 4;
	at[STRING] = at[STRING_LEN] + 8;
	test_put_kv_string(out, "general.architecture", "llama");
	at[ALIGNMENT_TYPE] = out->len + 8 + strlen("general.alignment");
	at[ALIGNMENT] = at[ALIGNMENT_TYPE] + 4;
	test_put_kv_u32(out, "general.alignment", 32);
	test_put_key(out, "words", 9);
	at[ARRAY_TYPE] = out->len;
	at[ARRAY_COUNT] = out->len + 4;
	at[ARRAY_STRING_LEN] = out->len + 12;
	test_put_u32(out, 8);
	test_put_u64(out, 2);
	test_put_string(out, "x");
	test_put_string(out, "y");
	at[FLAG_KEY] = out->len + 8;
	test_put_key(out, "flag", 7);
	at[FLAG] = out->len;
	test_put_u8(out, 1);
	test_put_key(out, "fla2", 9);
	test_put_u32(out, 7);
	test_put_u64(out, 2);
	at[FLAGS] = out->len;
	test_put_u8(out, 1);
	test_put_u8(out, 0);
	at[NAME_LEN] = out->len;
	at[NAME] = out->len + 8;
	at[N_DIMS] = at[NAME] + 3;
	at[NE0] = at[N_DIMS] + 4;
	at[NE1] = at[NE0] + 8;
	at[TYPE] = at[NE1] + 8;
	at[OFFSET] = at[TYPE] + 4;
	test_put_info(out, "one", (uint64_t[]){32, 2, 0}, 8, 0);
	at[NAME_2] = out->len + 8;
	at[OFFSET_2] = out->len + 8 + 3 + 4 + 8 + 4;
	test_put_info(out, "two", (uint64_t[]){4, 0}, 0, 96);
	test_put_padding(out, 32);
	for (int i = 0; i < 96 + 32; i++)
		test_put_u8(out, 0);
}

#define MINUS_1 UINT64_MAX

static const struct {
	const char *fault;
	enum place place;
	int bytes;
	uint64_t value;
	const char *cause;
} patches[] = {
	{"48 bad magic", MAGIC, 1, 'X', "does not begin with \"GGUF\""},
	{"48 big-endian", VERSION, 4, 0x03000000, "big-endian"},
	{"48 version 0", VERSION, 4, 0, "version 0"},
	{"48 version 1", VERSION, 4, 1, "version 1"},
	{"48 future version", VERSION, 4, 4, "version 4 is not read"},
	{"49 tensors -1", N_TENSORS, 8, MINUS_1, "claims 18446744073709551615 tensors"},
	{"49 more tensors than bytes", N_TENSORS, 8, 1000, "claims 1000 tensors"},
	{"49 kv -1", N_KV, 8, MINUS_1, "claims 18446744073709551615 metadata"},
	{"49 more kv than bytes", N_KV, 8, 1000, "claims 1000 metadata"},
	{"50 key length -1", KEY_LEN, 8, MINUS_1, "exceeds"},
	{"50 empty key", KEY_LEN, 8, 0, "a key of 0 bytes"},
	{"50 duplicate key", FLAG_KEY, 4, 0x32616c66, "\"fla2\" stands there twice"},
	{"50 NUL in a key", FLAG_KEY, 1, 0, "not UTF-8 text"},
	{"51 value type 13", KEY_TYPE, 4, 13, "unknown value type 13"},
	{"51 value type -1", KEY_TYPE, 4, 0xffffffff, "unknown value type"},
	{"51 array of arrays", ARRAY_TYPE, 4, 9, "arrays of arrays"},
	{"51 array of type 13", ARRAY_TYPE, 4, 13, "type 13"},
	{"51 array count -1", ARRAY_COUNT, 8, MINUS_1, "18446744073709551615 elements"},
	{"51 array count times 8 is 0", ARRAY_COUNT, 8, UINT64_C(1) << 61, "elements of string"},
	{"51 string of an array beyond the file", ARRAY_STRING_LEN, 8, MINUS_1 - 8, "exceeds"},
	{"51 string beyond the file", STRING_LEN, 8, 100000, "the length of a value, 100000"},
	{"51 string length -1", STRING_LEN, 8, MINUS_1, "exceeds"},
	{"51 NUL in a string", STRING, 1, 0, "NUL byte"},
	{"51 bool 2", FLAG, 1, 2, "the bool \"flag\" is 2"},
	{"51 bool 255 in an array", FLAGS, 1, 255, "a bool of \"fla2\" is 255"},
	{"52 alignment of type i32", ALIGNMENT_TYPE, 4, 5, "should be u32 and is i32"},
	{"52 alignment of type f32", ALIGNMENT_TYPE, 4, 6, "should be u32 and is f32"},
	{"52 alignment 0", ALIGNMENT, 4, 0, "general.alignment is 0"},
	{"52 alignment 13", ALIGNMENT, 4, 13, "general.alignment is 13"},
	{"52 alignment 2^31", ALIGNMENT, 4, UINT32_C(1) << 31, "general.alignment is 2147483648"},
	{"53 no dimension", N_DIMS, 4, 0, "has 0 dimensions"},
	{"53 five dimensions", N_DIMS, 4, 5, "has 5 dimensions"},
	{"53 dimension 0", NE0, 8, 0, "dimension 0 of tensor \"one\" is 0"},
	{"53 dimension -1", NE0, 8, MINUS_1, "is -1"},
	{"53 dimension 2^42 + 1", NE1, 8, (UINT64_C(1) << 42) + 1, "the file is cut"},
	{"53 product overflows", NE1, 8, UINT64_C(1) << 62, "overflows"},
	{"53 row no multiple of the block", NE0, 8, 33, "no multiple of the 32 of a q8_0 block"},
	{"54 type -1", TYPE, 4, 0xffffffff, "type 4294967295, which is unknown"},
	{"54 withdrawn type", TYPE, 4, 4, "type 4, which is unknown or withdrawn"},
	{"54 type of the future", TYPE, 4, 43, "type 43"},
	{"55 offset unaligned", OFFSET_2, 8, 97, "no multiple of the alignment"},
	{"55 offset out of order", OFFSET, 8, 32, "hole"},
	{"55 overlap", OFFSET_2, 8, 64, "overlap"},
	{"55 hole", OFFSET_2, 8, 128, "hole"},
	{"55 offset past the end", OFFSET_2, 8, UINT64_C(1) << 40, "\"two\""},
	{"55 offset near 2^64", OFFSET_2, 8, MINUS_1 - 31, "\"two\""},
	{"55 larger than the file", NE1, 8, 1000, "the file is cut"},
	{"55 duplicate name", NAME_2, 3, 0x656e6f, "\"one\" stands there twice"},
	{"55 empty name", NAME_LEN, 8, 0, "name has 0 bytes"},
	{"55 name of 64 bytes", NAME_LEN, 8, 64, "name has 64 bytes"},
	{"55 name beyond the file", NAME_LEN, 8, MINUS_1, "exceeds"},
	{"55 NUL in a name", NAME, 1, 0, "not UTF-8 text"},
	{"55 name not UTF-8", NAME, 1, 0xff, "not UTF-8 text"},
};

static void
test_gguf_patched_fault_is_named(void **state)
{
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	struct hn_str bytes = {0};
	size_t at[N_PLACES];

	(void)state;
	make_gguf(&bytes, at);
	if (hn_gguf_parse(&file, (uint8_t *)bytes.text, bytes.len, REFUSED_PATH, &err))
		fail_msg("the valid file: %s", err.text);
	assert_int_equal(file.n_tensors, 2);
	hn_tensor_file_close(&file);
	for (size_t i = 0; i < sizeof patches / sizeof patches[0]; i++) {
		struct hn_str bad = {0};
		const size_t from = at[patches[i].place];

		err = (struct hone_error){0};
		hn_str_add(&bad, bytes.text, bytes.len);
		for (int b = 0; b < patches[i].bytes; b++)
			bad.text[from + (size_t)b] = (char)(patches[i].value >> (8 * b) & 0xff);
		test_refused(hn_gguf_parse(&file, (uint8_t *)bad.text, bad.len, REFUSED_PATH, &err),
			&err, patches[i].fault, REFUSED_PATH, patches[i].cause);
		hn_str_fini(&bad);
	}
	hn_str_fini(&bytes);
}

/* 49, 55: every cut of a valid file is refused, none crashes. */
static void
test_gguf_cut_anywhere_is_refused(void **state)
{
	struct hn_tensor_file file = {0};
	struct hn_str bytes = {0};
	size_t at[N_PLACES];

	(void)state;
	make_gguf(&bytes, at);
	/* The padding behind the last tensor, 16 bytes, may be missing. */
	for (size_t n = 0; n < bytes.len - 16; n++) {
		struct hone_error err = {0};
		uint8_t *cut = malloc(n + 1);

		memcpy(cut, bytes.text, n);
		test_refused(hn_gguf_parse(&file, cut, n, REFUSED_PATH, &err), &err, "cut",
			REFUSED_PATH, "");
		free(cut);
	}
	hn_str_fini(&bytes);
}

/* 50: a key above the format's limit, in a file that has the bytes. */
static void
test_gguf_key_above_the_limit_is_refused(void **state)
{
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	struct hn_str bytes = {0};

	(void)state;
	test_put_gguf(&bytes, 3, 0, 1);
	test_put_u64(&bytes, 65536);
	for (int i = 0; i < 65536; i++)
		hn_str_putc(&bytes, 'k');
	test_put_u32(&bytes, 4);
	test_put_u32(&bytes, 0);
	test_refused(hn_gguf_parse(&file, (uint8_t *)bytes.text, bytes.len, REFUSED_PATH, &err),
		&err, "50", REFUSED_PATH, "a key of 65536 bytes");
	hn_str_fini(&bytes);
}

/* 54: a type that is known by name only is listed, and refused when it is wanted. */
static void
test_gguf_type_without_storage_names_tensor_and_type(void **state)
{
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	struct hn_str bytes = {0};

	(void)state;
	test_put_gguf(&bytes, 3, 1, 0);
	test_put_info(&bytes, "w", (uint64_t[]){256, 0}, 23, 0);
	test_put_padding(&bytes, 32);
	for (int i = 0; i < 160; i++)
		test_put_u8(&bytes, 0);
	assert_int_equal(hn_gguf_parse(&file, (uint8_t *)bytes.text, bytes.len, REFUSED_PATH, &err),
		HONE_OK);
	test_refused(hn_tensor_check_decodable(&file, &file.tensors[0], &err), &err, "54",
		REFUSED_PATH, "tensor \"w\" is stored as iq4_xs");
	hn_tensor_file_close(&file);
	hn_str_fini(&bytes);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gguf_patched_fault_is_named),
		cmocka_unit_test(test_gguf_cut_anywhere_is_refused),
		cmocka_unit_test(test_gguf_key_above_the_limit_is_refused),
		cmocka_unit_test(test_gguf_type_without_storage_names_tensor_and_type),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
