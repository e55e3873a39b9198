/*
 * base/table.h - a hash table from byte strings to 64-bit numbers.
 *
 * Keys are copied.  Iteration is in the order of insertion, so nothing that is printed or
 * computed ever depends on a hash.
 */
#ifndef HN_BASE_TABLE_H
#define HN_BASE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hn_table_entry {
	const char *key; /* NUL-terminated copy, may hold NULs inside */
	size_t key_len;
	uint64_t value;
};

/* A zeroed struct is the empty table. */
struct hn_table {
	struct hn_table_entry *entries; /* n of them, in the order of insertion */
	size_t n, cap;
	uint32_t *slots; /* 0 = empty, else entry + 1 */
	size_t n_slots;
};

void hn_table_fini(struct hn_table *table);
/* Inserts or overwrites; true when the key is new. */
bool hn_table_put(struct hn_table *table, const char *key, size_t len, uint64_t value);
/* Borrowed pointer to the value, valid until the next put; NULL when absent. */
uint64_t *hn_table_find(const struct hn_table *table, const char *key, size_t len);
/* The same for NUL-terminated keys. */
bool hn_table_set(struct hn_table *table, const char *key, uint64_t value);
uint64_t *hn_table_get(const struct hn_table *table, const char *key);

#endif
