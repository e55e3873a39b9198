/*
 * test_malformed_files.c - model files with one fault each.
 *
 * A fault is a patch of a valid file made here, or a header's text.  The numbers are those of
 * the catalogue of bad inputs: 36-47 safetensors, 48-57 GGUF, 64-67 config.json and folders.
 * Each must end with HONE_EMODEL, the file's path as the place, and the cause in the text; a
 * reader that accepts one of them would compute with wrong numbers or read out of bounds.
 */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "modelfile.h"

#include "model/checkpoint.h"
#include "model/gguf.h"
#include "model/safetensors.h"

#define PATH "somewhere/model.file"

/* The outcome that every case must have. */
static void
check_refused(enum hone_status st, const struct hone_error *err, const char *fault,
	const char *place, const char *cause)
{
	if (st != HONE_EMODEL || err->status != HONE_EMODEL)
		fail_msg("%s: status %d instead of HONE_EMODEL: %s", fault, (int)st, err->text);
	if (!strstr(err->place, place))
		fail_msg("%s: the place \"%s\" is not %s", fault, err->place, place);
	if (!strstr(err->text, cause))
		fail_msg("%s: \"%s\" does not say \"%s\"", fault, err->text, cause);
}

/* ---- safetensors: a header and the number of data bytes ---- */

static const char valid_header[] =
	"{\"__metadata__\":{\"format\":\"pt\"},"
	"\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
	"\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[16,24]}}  ";

#define A(shape, offsets)                                                                          \
	"{\"a\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define AB(offsets_a, offsets_b)                                                                   \
	"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":" offsets_a "},"                 \
	"\"b\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":" offsets_b "}}"

static const struct {
	const char *fault;
	const char *header;
	size_t n_data;
	const char *cause;
} headers[] = {
	{"38 not an object", "[1]", 0, "does not begin with '{'"},
	{"38 leading space", " {}", 0, "does not begin with '{'"},
	{"38 not UTF-8", "{\"\xff\":1}", 0, "not UTF-8"},
	{"38 overlong UTF-8", "{\"\xc0\xaf\":1}", 0, "not UTF-8"},
	{"38 name twice",
		"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
		"\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
		2, "\"a\" stands there twice"},
	{"38 name twice by an escape",
		"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
		"\"\\u0061\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
		2, "\"a\" stands there twice"},
	{"38 member twice",
		"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
		1, "\"dtype\" of tensor \"a\" stands there twice"},
	{"38 metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice"},
	{"38 metadata that is no text", "{\"__metadata__\":{\"x\":1}}", 0, "not a string"},
	{"38 member missing", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "lacks data_offsets"},
	{"38 unknown member", "{\"a\":{\"type\":\"U8\"}}", 1, "unknown member \"type\""},
	{"38 cut", "{\"a\":{\"dtype\":\"U8\"", 1, "expected ',' or '}'"},
	{"38 string without end", "{\"a", 0, "does not end"},
	{"38 half a surrogate", "{\"\\ud800\":1}", 0, "surrogate"},
	{"38 NUL in a name", "{\"\\u0000\":1}", 0, "not a character"},
	{"38 text behind the object", "{} {}", 0, "after the closing brace"},
	{"38 empty name", "{\"\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
		"empty or not UTF-8"},
	{"39 reversed", A("[4]", "[16,0]"), 16, "\"a\" are reversed"},
	{"39 overlap", AB("[0,16]", "[8,24]"), 24,
		"\"b\" begins at 8, and \"a\" before it ends at 16"},
	{"39 the same bytes twice", AB("[0,16]", "[0,16]"), 16, "overlap"},
	{"39 hole", AB("[0,16]", "[20,36]"), 36, "hole"},
	{"39 hole at the start", A("[4]", "[8,24]"), 24, "hole"},
	{"39 past the end", A("[4]", "[0,16]"), 12, "the file is cut"},
	{"39 offset 2^63", A("[4]", "[0,9223372036854775808]"), 16, "too large"},
	{"39 offset 2^64", A("[4]", "[0,18446744073709551616]"), 16, "too large"},
	{"39 bytes behind the last", A("[4]", "[0,16]"), 17, "1 bytes follow the last tensor"},
	{"39 one offset", A("[4]", "[16]"), 16, "two numbers"},
	{"39 three offsets", A("[4]", "[0,8,16]"), 16, "more than 2 numbers"},
	{"40 product overflows", A("[4294967296,4294967296]", "[0,16]"), 16, "overflows"},
	{"40 bits overflow", A("[9223372036854775807]", "[0,16]"), 16, "overflows"},
	{"40 product overflows behind a zero", A("[9223372036854775807,2,0]", "[0,0]"), 0,
		"overflows"},
	{"40 negative", A("[-4]", "[0,16]"), 16, "not negative"},
	{"40 float", A("[4.0]", "[0,16]"), 16, "whole numbers"},
	{"40 exponent", A("[4e0]", "[0,16]"), 16, "whole numbers"},
	{"40 leading zero", A("[04]", "[0,16]"), 16, "whole numbers"},
	{"40 text", A("[\"4\"]", "[0,16]"), 16, "whole numbers"},
	{"40 rank 9", A("[1,1,1,1,1,1,1,1,4]", "[0,16]"), 16, "more than 8 numbers"},
	{"41 unknown type", "{\"a\":{\"dtype\":\"F9\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4,
		"unknown type \"F9\"; known are BOOL"},
	{"41 type in lower case",
		"{\"a\":{\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
		"unknown type"},
	{"42 too few bytes", A("[5]", "[0,16]"), 16, "has 16 bytes, and its shape in F32 needs 20"},
	{"42 too many bytes", A("[3]", "[0,16]"), 16, "needs 12"},
	{"42 half a byte", "{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2,
		"whole bytes"},
};

static void
test_safetensors_header_fault_is_named(void **state)
{
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	struct hn_str bytes = {0};

	(void)state;
	test_put_safetensors(&bytes, valid_header, 24);
	assert_int_equal(
		hn_safetensors_parse(&file, (uint8_t *)bytes.text, bytes.len, PATH, &err), 0);
	hn_tensor_file_close(&file);
	for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
		hn_str_clear(&bytes);
		err = (struct hone_error){0};
		test_put_safetensors(&bytes, headers[i].header, headers[i].n_data);
		check_refused(
			hn_safetensors_parse(&file, (uint8_t *)bytes.text, bytes.len, PATH, &err),
			&err, headers[i].fault, PATH, headers[i].cause);
		assert_null(file.tensors);
	}
	hn_str_fini(&bytes);
}

/* 36, 37, 44, 45, 67: what is no safetensors file at all. */
static void
test_safetensors_first_bytes_fault_is_named(void **state)
{
	static const struct {
		const char *fault, *bytes;
		size_t n;
		const char *cause;
	} cases[] = {
		{"36 empty", "", 0, "empty"},
		{"36 seven bytes", "1234567", 7, "at least 8"},
		{"37 length beyond the file", "\x40\0\0\0\0\0\0\0{}", 10,
			"header length 64 exceeds"},
		{"37 length 2^63", "\0\0\0\0\0\0\0\x80{}", 10, "header length 9223372036854775808"},
		{"37 length 2^64 - 1", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10,
			"header length 18446744073709551615 exceeds the file's 10 bytes"},
		{"44 LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
			57, "git lfs pull"},
		{"45 web page", "\n<!DOCTYPE html><html>", 22, "web page"},
		{"67 pickle", "\x80\x02}q\0.       ", 14, "convert it to safetensors"},
		{"67 zip of pickles", "PK\3\4          ", 14, "convert it to safetensors"},
		{"gzip", "\x1f\x8b          ", 12, "gunzip"},
	};
	struct hn_tensor_file file = {0};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct hone_error err = {0};

		check_refused(hn_safetensors_parse(&file, (const uint8_t *)cases[i].bytes,
				      cases[i].n, PATH, &err),
			&err, cases[i].fault, PATH, cases[i].cause);
	}
}

/* A name of a kibibyte must not push the cause out of the message. */
static void
test_safetensors_long_name_does_not_hide_the_cause(void **state)
{
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	struct hn_str header = {0}, bytes = {0};

	(void)state;
	hn_str_puts(&header, "{\"");
	for (int i = 0; i < 1024; i++)
		hn_str_putc(&header, 'n');
	hn_str_puts(&header, "\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,0]}}");
	test_put_safetensors(&bytes, header.text, 16);
	check_refused(hn_safetensors_parse(&file, (uint8_t *)bytes.text, bytes.len, PATH, &err),
		&err, "long name", PATH, "are reversed: [16, 0]");
	hn_str_fini(&bytes);
	hn_str_fini(&header);
}

/* 37: the limit of 100 MB holds although the file has the bytes. */
static void
test_safetensors_header_above_the_limit_is_refused(void **state)
{
	const size_t n = 100000001 + 8;
	uint8_t *bytes = malloc(n);
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};

	(void)state;
	assert_non_null(bytes);
	memset(bytes, ' ', n);
	memcpy(bytes, "\x01\xe1\xf5\x05\0\0\0\0{}", 10);
	check_refused(hn_safetensors_parse(&file, bytes, n, PATH, &err), &err, "37", PATH,
		"exceeds the format's limit");
	free(bytes);
}

/* 38: every cut of a valid file is refused, none crashes. */
static void
test_safetensors_cut_anywhere_is_refused(void **state)
{
	struct hn_tensor_file file = {0};
	struct hn_str bytes = {0};

	(void)state;
	test_put_safetensors(&bytes, valid_header, 24);
	for (size_t n = 0; n < bytes.len; n++) {
		struct hone_error err = {0};
		uint8_t *cut = malloc(n + 1);

		memcpy(cut, bytes.text, n);
		check_refused(
			hn_safetensors_parse(&file, cut, n, PATH, &err), &err, "cut", PATH, "");
		free(cut);
	}
	hn_str_fini(&bytes);
}

/* 46: a weight that is not finite. */
static void
test_safetensors_weight_not_finite_names_tensor_count_and_index(void **state)
{
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	struct hn_str bytes = {0};
	float *values;

	(void)state;
	test_put_safetensors(&bytes, A("[4]", "[0,16]"), 0);
	test_put_f32(&bytes, 1);
	test_put_f32(&bytes, 2);
	test_put_f32(&bytes, 3);
	test_put_f32(&bytes, 4);
	assert_int_equal(
		hn_safetensors_parse(&file, (uint8_t *)bytes.text, bytes.len, PATH, &err), 0);
	assert_int_equal(hn_tensor_check_finite(&file, &file.tensors[0], &err), HONE_OK);
	values = (float *)(void *)(bytes.text + bytes.len - 16);
	memcpy(&values[1], &(float){NAN}, sizeof(float));
	memcpy(&values[3], &(float){-INFINITY}, sizeof(float));
	check_refused(hn_tensor_check_finite(&file, &file.tensors[0], &err), &err, "46", PATH,
		"\"a\" holds 2 values that are NaN or infinite, the first at element 1");
	hn_tensor_file_close(&file);
	hn_str_fini(&bytes);
}

/* 47: a tensor that is missing or of another shape. */
static void
test_safetensors_tensor_missing_or_of_other_shape_is_named(void **state)
{
	const struct hn_tensor_info *tensor;
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	struct hn_str bytes = {0};

	(void)state;
	test_put_safetensors(&bytes, valid_header, 24);
	assert_int_equal(
		hn_safetensors_parse(&file, (uint8_t *)bytes.text, bytes.len, PATH, &err), 0);
	check_refused(hn_tensor_file_expect(&file, "c", 1, (int64_t[]){4}, &tensor, &err), &err,
		"47 missing", PATH, "\"c\" is missing");
	check_refused(hn_tensor_file_expect(&file, "a", 2, (int64_t[]){2, 3}, &tensor, &err), &err,
		"47 shape", PATH, "\"a\" is [2, 2], and the configuration asks for [2, 3]");
	hn_tensor_file_close(&file);
	hn_str_fini(&bytes);
}

/* ---- 43: shards ---- */

#define SHARD(name) "{\"" name "\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}    "

static void
write_shard(const char *folder, const char *file, const char *header)
{
	struct hn_str bytes = {0};

	test_put_safetensors(&bytes, header, 4);
	free(test_write(folder, file, bytes.text, bytes.len));
	hn_str_fini(&bytes);
}

static void
test_safetensors_index_fault_is_named(void **state)
{
	static const char one[] = "model-00001-of-00002.safetensors";
	static const char two[] = "model-00002-of-00002.safetensors";
	static const struct {
		const char *fault, *index, *second, *extra, *place, *cause;
	} cases[] = {
		{"43 shard missing", "{\"a\":\"1\",\"b\":\"2\"}", NULL, NULL, "index.json",
			"names the file \"model-00002-of-00002.safetensors\", which is missing"},
		{"43 tensor in two shards", "{\"a\":\"1\",\"b\":\"2\"}", SHARD("a"), NULL,
			"00002-of", "\"a\" stands there twice"},
		{"43 tensor not in its shard", "{\"a\":\"1\",\"b\":\"1\",\"c\":\"2\"}", SHARD("c"),
			NULL, "index.json",
			"tensor \"b\" is in \"model-00001-of-00002.safetensors\", and it is not"},
		{"43 tensors in each other's shard", "{\"a\":\"2\",\"b\":\"1\"}", SHARD("b"), NULL,
			"index.json",
			"tensor \"a\" is in \"model-00002-of-00002.safetensors\", and it is not"},
		{"43 tensor not in the index", "{\"a\":\"1\",\"b\":\"2\"}",
			"{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
			"\"c\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
			NULL, "00002-of", "\"c\" is not named in the index"},
		{"43 path upwards", "{\"a\":\"../model.safetensors\"}", NULL, NULL, "index.json",
			"not the name of a file beside the index"},
		{"43 absolute path", "{\"a\":\"/etc/passwd\"}", NULL, NULL, "index.json",
			"not the name of a file"},
		{"43 dots", "{\"a\":\"..\"}", NULL, NULL, "index.json", "not the name of a file"},
		{"43 empty name", "{\"a\":\"\"}", NULL, NULL, "index.json",
			"not the name of a file"},
		{"43 no name", "{\"a\":1}", NULL, NULL, "index.json", "not the name of a file"},
		{"43 shard of another save", "{\"a\":\"1\",\"b\":\"2\"}", SHARD("b"),
			"model-00003-of-00003.safetensors", "index.json", "does not name it"},
		{"43 empty map", "{}", NULL, NULL, "index.json", "no \"weight_map\""},
		{"43 map of another kind", "[]", NULL, NULL, "index.json", "no \"weight_map\""},
		{"43 tensor twice in the map", "{\"a\":\"1\",\"a\":\"1\"}", NULL, NULL,
			"index.json", "not JSON: duplicate"},
		{"43 valid", "{\"a\":\"1\",\"b\":\"2\"}", SHARD("b"), NULL, NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char *folder = test_folder_make(),
		     *path = hn_path_join(folder, "model.safetensors.index.json");
		struct hn_tensor_file file = {0};
		struct hone_error err = {0};
		struct hn_str index = {0};

		hn_str_puts(&index, "{\"weight_map\": ");
		for (const char *at = cases[i].index; *at; at++) {
			/* "1" and "2" stand for the shards' names. */
			const bool is_value = at[0] == '"' && (at[1] == '1' || at[1] == '2');

			if (is_value)
				hn_str_printf(&index, "\"%s\"", at[1] == '1' ? one : two);
			else
				hn_str_putc(&index, *at);
			at += is_value ? 2 : 0;
		}
		hn_str_puts(&index, "}");
		free(test_write(folder, "model.safetensors.index.json", index.text, index.len));
		write_shard(folder, one, SHARD("a"));
		if (cases[i].second)
			write_shard(folder, two, cases[i].second);
		if (cases[i].extra)
			write_shard(folder, cases[i].extra, SHARD("x"));
		if (cases[i].cause) {
			check_refused(hn_tensors_open(&file, folder, &err), &err, cases[i].fault,
				cases[i].place, cases[i].cause);
		} else if (hn_tensors_open(&file, folder, &err)) {
			fail_msg("%s: %s", err.place, err.text);
		} else {
			assert_int_equal(file.n_tensors, 2);
			assert_int_equal(file.n_maps, 2);
			hn_tensor_file_close(&file);
		}
		hn_str_fini(&index);
		free(path);
		test_folder_remove(folder);
	}
}

/* ---- GGUF: a valid file, and the places in it ---- */

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
	if (hn_gguf_parse(&file, (uint8_t *)bytes.text, bytes.len, PATH, &err))
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
		check_refused(hn_gguf_parse(&file, (uint8_t *)bad.text, bad.len, PATH, &err), &err,
			patches[i].fault, PATH, patches[i].cause);
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
		check_refused(hn_gguf_parse(&file, cut, n, PATH, &err), &err, "cut", PATH, "");
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
	check_refused(hn_gguf_parse(&file, (uint8_t *)bytes.text, bytes.len, PATH, &err), &err,
		"50", PATH, "a key of 65536 bytes");
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
	assert_int_equal(
		hn_gguf_parse(&file, (uint8_t *)bytes.text, bytes.len, PATH, &err), HONE_OK);
	check_refused(hn_tensor_check_decodable(&file, &file.tensors[0], &err), &err, "54", PATH,
		"tensor \"w\" is stored as iq4_xs");
	hn_tensor_file_close(&file);
	hn_str_fini(&bytes);
}

/* ---- 56, 57: metadata that contradicts itself or the tensors ---- */

struct llama {
	uint32_t width, heads, kv_heads, layers, vocab;
	float eps, theta;
	uint32_t n_scores, n_types, type_type, token_type;
	float score;
	const char *token;
};

static const struct llama valid_llama = {.width = 8,
	.heads = 4,
	.kv_heads = 2,
	.layers = 1,
	.vocab = 3,
	.eps = 1e-5f,
	.theta = 10000,
	.n_scores = 3,
	.n_types = 3,
	.type_type = 5,
	.token_type = 8,
	.score = -1,
	.token = "<0x0A>"};

static void
put_array(struct hn_str *out, const char *key, uint32_t type, uint64_t n)
{
	test_put_key(out, key, 9);
	test_put_u32(out, type);
	test_put_u64(out, n);
}

static void
make_llama(struct hn_str *out, const struct llama *llama)
{
	test_put_gguf(out, 3, 2, 13);
	test_put_kv_string(out, "general.architecture", "llama");
	test_put_kv_u32(out, "llama.embedding_length", llama->width);
	test_put_kv_u32(out, "llama.attention.head_count", llama->heads);
	test_put_kv_u32(out, "llama.attention.head_count_kv", llama->kv_heads);
	test_put_kv_u32(out, "llama.block_count", llama->layers);
	test_put_kv_u32(out, "llama.feed_forward_length", 16);
	test_put_kv_u32(out, "llama.context_length", 64);
	test_put_kv_u32(out, "llama.vocab_size", llama->vocab);
	test_put_kv_f32(out, "llama.attention.layer_norm_rms_epsilon", llama->eps);
	test_put_kv_f32(out, "llama.rope.freq_base", llama->theta);
	put_array(out, "tokenizer.ggml.tokens", llama->token_type, 3);
	for (int i = 0; i < 3 && llama->token_type == 8; i++)
		test_put_string(out, llama->token);
	for (int i = 0; i < 3 && llama->token_type == 4; i++)
		test_put_u32(out, 0);
	put_array(out, "tokenizer.ggml.scores", 6, llama->n_scores);
	for (uint32_t i = 0; i < llama->n_scores; i++)
		test_put_f32(out, llama->score);
	put_array(out, "tokenizer.ggml.token_type", llama->type_type, llama->n_types);
	for (uint32_t i = 0; i < llama->n_types; i++)
		test_put_u32(out, 1);
	test_put_info(out, "token_embd.weight", (uint64_t[]){8, 3, 0}, 0, 0);
	test_put_info(out, "blk.0.attn_norm.weight", (uint64_t[]){8, 0}, 0, 96);
	test_put_padding(out, 32);
	for (int i = 0; i < 96 + 32; i++)
		test_put_u8(out, 0);
}

static enum hone_status
derive(const struct llama *llama, struct hone_error *err)
{
	struct hn_tensor_file file = {0};
	struct hn_model_config config = {0};
	struct hn_str bytes = {0};
	enum hone_status st;

	make_llama(&bytes, llama);
	st = hn_gguf_parse(&file, (uint8_t *)bytes.text, bytes.len, PATH, err);
	if (st)
		fail_msg("the file itself: %s", err->text);
	st = hn_model_config_from_gguf(&config, &file, err);
	hn_model_config_close(&config);
	hn_tensor_file_close(&file);
	hn_str_fini(&bytes);
	return st;
}

static void
check_llama(const char *fault, struct llama llama, const char *cause)
{
	struct hone_error err = {0};

	check_refused(derive(&llama, &err), &err, fault, PATH, cause);
}

static struct llama
with(const struct llama *from, size_t offset, const void *value, size_t n)
{
	struct llama llama = *from;

	memcpy((char *)&llama + offset, value, n);
	return llama;
}

static void
test_gguf_metadata_contradiction_is_named(void **state)
{
	static const struct {
		const char *fault;
		size_t offset;
		uint32_t value;
		const char *cause;
	} whole[] = {
		{"56 no heads", offsetof(struct llama, heads), 0, "head_count\" is 0"},
		{"56 no kv heads", offsetof(struct llama, kv_heads), 0, "head_count_kv\" is 0"},
		{"56 more kv heads than heads", offsetof(struct llama, kv_heads), 8, "no multiple"},
		{"56 kv heads do not divide", offsetof(struct llama, kv_heads), 3, "no multiple"},
		{"56 heads do not divide the width", offsetof(struct llama, heads), 3,
			"llama.embedding_length 8 is no multiple"},
		{"56 width is not the rows'", offsetof(struct llama, width), 16,
			"rows of token_embd.weight have 8 elements"},
		{"56 more blocks than allowed", offsetof(struct llama, layers), 1025,
			"at most 1024"},
		{"56 more blocks than tensors", offsetof(struct llama, layers), 2,
			"\"blk.1.attn_norm.weight\" is missing"},
		{"56 no block", offsetof(struct llama, layers), 0, "block_count\" is 0"},
		{"56 vocabulary is not the rows", offsetof(struct llama, vocab), 4,
			"llama.vocab_size is 4, and token_embd.weight has 3 rows"},
		{"57 fewer scores than tokens", offsetof(struct llama, n_scores), 2,
			"\"tokenizer.ggml.scores\" has 2 elements, and there are 3 tokens"},
		{"57 more types than tokens", offsetof(struct llama, n_types), 4, "has 4 elements"},
		{"57 types of another type", offsetof(struct llama, type_type), 6,
			"should be an array of i32 and is one of f32"},
		{"57 tokens of another type", offsetof(struct llama, token_type), 4,
			"should be an array of string and is one of u32"},
	};
	struct hone_error err = {0};

	(void)state;
	if (derive(&valid_llama, &err))
		fail_msg("the valid file: %s", err.text);
	for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++)
		check_llama(whole[i].fault,
			with(&valid_llama, whole[i].offset, &whole[i].value, sizeof(uint32_t)),
			whole[i].cause);
}

static void
test_gguf_number_or_token_out_of_range_is_named(void **state)
{
	static const struct {
		const char *fault;
		size_t offset;
		float value;
		const char *cause;
	} floats[] = {
		{"56 eps 0", offsetof(struct llama, eps), 0, "epsilon\" is 0; it must be above 0"},
		{"56 eps NaN", offsetof(struct llama, eps), NAN, "must be above 0"},
		{"56 rope base 0", offsetof(struct llama, theta), 0, "freq_base\" is 0"},
		{"56 rope base negative", offsetof(struct llama, theta), -1, "freq_base\" is -1"},
		{"56 rope base NaN", offsetof(struct llama, theta), NAN, "must be above 0"},
		{"57 score NaN", offsetof(struct llama, score), NAN,
			"score of token 0 is not finite"},
	};
	static const char *const tokens[] = {"<0xZZ>", "<0x-1>", "<0x0a>"};
	struct llama llama = valid_llama;

	(void)state;
	for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++)
		check_llama(floats[i].fault,
			with(&valid_llama, floats[i].offset, &floats[i].value, sizeof(float)),
			floats[i].cause);
	for (size_t i = 0; i < 3; i++) {
		llama.token = tokens[i];
		check_llama("57 byte token", llama, "looks like a byte");
	}
}

/* ---- config.json and folders ---- */

static void
test_config_fault_is_named(void **state)
{
	static const struct {
		const char *fault, *text, *cause;
	} cases[] = {
		{"64 not JSON", "{\"a\": 1,}", "not JSON"},
		{"64 empty", "", "not JSON"},
		{"64 duplicate key", "{\"a\": 1, \"a\": 2}", "not JSON: duplicate"},
		{"64 not an object", "[1]", "JSON object"},
		{"64 heads do not divide", "{\"hidden_size\": 10, \"num_attention_heads\": 4}",
			"hidden_size 10 is no multiple of num_attention_heads 4"},
		{"64 kv heads 0", "{\"num_attention_heads\": 4, \"num_key_value_heads\": 0}",
			"\"num_key_value_heads\" is 0"},
		{"64 kv heads do not divide",
			"{\"num_attention_heads\": 4, \"num_key_value_heads\": 3}", "no multiple"},
		{"64 negative size", "{\"hidden_size\": -8}", "\"hidden_size\" is -8"},
		{"64 layers", "{\"num_hidden_layers\": 100000}", "1 to 1024"},
		{"64 text for a number", "{\"hidden_size\": \"8\"}", "should be a whole number"},
		{"64 float for a number", "{\"hidden_size\": 8.5}", "should be a whole number"},
		{"64 eps", "{\"rms_norm_eps\": 0}", "\"rms_norm_eps\" is 0"},
		{"64 theta", "{\"rope_theta\": -1}", "\"rope_theta\" is -1"},
		{"64 theta of version 5", "{\"rope_parameters\": {\"rope_theta\": 0}}",
			"\"rope_theta\" is 0"},
		{"64 scaling unknown",
			"{\"rope_scaling\": {\"rope_type\": \"magic\", \"factor\": 2}}",
			"rope_scaling of type \"magic\" is not known"},
		{"64 scaling unknown, old spelling",
			"{\"rope_scaling\": {\"type\": \"magic\", \"factor\": 2}}", "\"magic\""},
		{"64 scaling unknown, version 5",
			"{\"rope_parameters\": {\"rope_type\": \"magic\", \"rope_theta\": 1}}",
			"\"magic\""},
		{"64 scaling without type", "{\"rope_scaling\": {\"factor\": 2}}", "rope_type"},
		{"64 scaling factor",
			"{\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 0}}",
			"\"rope_scaling.factor\" is 0"},
	};
	struct hn_model_config config = {0};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct hone_error err = {0};

		check_refused(hn_model_config_parse(
				      &config, cases[i].text, strlen(cases[i].text), PATH, &err),
			&err, cases[i].fault, PATH, cases[i].cause);
		assert_null(config.stored);
	}
}

/* 64, 65: an architecture nobody knows, with code in the folder. */
static void
test_config_unknown_architecture_says_that_no_code_is_run(void **state)
{
	static const char text[] =
		"{\"model_type\": \"lama\", \"auto_map\": {\"AutoModel\": \"x.Y\"}}";
	static const char *const known[] = {"llama", "gpt2"};
	struct hn_model_config config = {0};
	struct hone_error err = {0};

	(void)state;
	assert_int_equal(hn_model_config_parse(&config, text, strlen(text), PATH, &err), HONE_OK);
	check_refused(hn_model_config_fail_unknown(&config, known, 2, &err), &err, "64", PATH,
		"\"lama\" (did you mean \"llama\"?); known are llama, gpt2");
	check_refused(hn_model_config_fail_unknown(&config, known, 2, &err), &err, "65", PATH,
		"hone runs no code from model repositories");
	hn_model_config_close(&config);
}

static void
check_folder(
	const char *fault, const char *const names[], const char *const texts[], const char *cause)
{
	char *folder = test_folder_make();
	struct hn_checkpoint checkpoint = {0};
	struct hone_error err = {0};

	for (size_t i = 0; names[i]; i++)
		free(test_write(folder, names[i], texts[i], strlen(texts[i])));
	check_refused(hn_checkpoint_open(&checkpoint, folder, &err), &err, fault, folder, cause);
	assert_null(checkpoint.path);
	test_folder_remove(folder);
}

/* 67 and what else a folder may be instead of a model. */
static void
test_folder_that_is_no_model_says_what_to_do(void **state)
{
	struct hn_checkpoint checkpoint = {0};
	struct hone_error err = {0};

	(void)state;
	check_folder("empty", (const char *const[]){NULL}, NULL, "there is no config.json in it");
	check_folder("67 pickle", (const char *const[]){"config.json", "pytorch_model.bin", NULL},
		(const char *const[]){"{}", "x"}, "pickle (pytorch_model.bin)");
	check_folder("config only", (const char *const[]){"config.json", NULL},
		(const char *const[]){"{}"}, "there is no safetensors file in it");
	check_folder("a GGUF file in it", (const char *const[]){"m.gguf", NULL},
		(const char *const[]){"GGUF"}, "m.gguf");
	check_folder("two files, no index",
		(const char *const[]){"config.json", "x.safetensors", "y.safetensors", NULL},
		(const char *const[]){"{}", "x", "x"}, "there are 2 .safetensors files");
	check_refused(hn_checkpoint_open(&checkpoint, "/nowhere/at/all", &err), &err, "absent",
		"/nowhere/at/all", "no such file");
}

/* 64: two different tensors where the configuration promises one. */
static void
test_folder_with_tied_and_different_head_asks_which(void **state)
{
	static const char header[] =
		"{\"lm_head.weight\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
		"\"model.embed_tokens.weight\":"
		"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}";
	static const char config[] = "{\"tie_word_embeddings\": true}";
	char *folder = test_folder_make();
	struct hn_checkpoint checkpoint = {0};
	struct hone_error err = {0};
	struct hn_str bytes = {0};

	(void)state;
	test_put_safetensors(&bytes, header, 8);
	free(test_write(folder, "model.safetensors", bytes.text, bytes.len));
	free(test_write(folder, "config.json", config, strlen(config)));
	check_refused(hn_checkpoint_open(&checkpoint, folder, &err), &err, "64", "config.json",
		"differs from model.embed_tokens.weight");
	/* The same bytes twice are what some tools write, and they are fine. */
	memcpy(bytes.text + bytes.len - 4, bytes.text + bytes.len - 8, 4);
	free(test_write(folder, "model.safetensors", bytes.text, bytes.len));
	assert_int_equal(hn_checkpoint_open(&checkpoint, folder, &err), HONE_OK);
	hn_checkpoint_close(&checkpoint);
	hn_str_fini(&bytes);
	test_folder_remove(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_safetensors_header_fault_is_named),
		cmocka_unit_test(test_safetensors_first_bytes_fault_is_named),
		cmocka_unit_test(test_safetensors_long_name_does_not_hide_the_cause),
		cmocka_unit_test(test_safetensors_header_above_the_limit_is_refused),
		cmocka_unit_test(test_safetensors_cut_anywhere_is_refused),
		cmocka_unit_test(test_safetensors_weight_not_finite_names_tensor_count_and_index),
		cmocka_unit_test(test_safetensors_tensor_missing_or_of_other_shape_is_named),
		cmocka_unit_test(test_safetensors_index_fault_is_named),
		cmocka_unit_test(test_gguf_patched_fault_is_named),
		cmocka_unit_test(test_gguf_cut_anywhere_is_refused),
		cmocka_unit_test(test_gguf_key_above_the_limit_is_refused),
		cmocka_unit_test(test_gguf_type_without_storage_names_tensor_and_type),
		cmocka_unit_test(test_gguf_metadata_contradiction_is_named),
		cmocka_unit_test(test_gguf_number_or_token_out_of_range_is_named),
		cmocka_unit_test(test_config_fault_is_named),
		cmocka_unit_test(test_config_unknown_architecture_says_that_no_code_is_run),
		cmocka_unit_test(test_folder_that_is_no_model_says_what_to_do),
		cmocka_unit_test(test_folder_with_tied_and_different_head_asks_which),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
