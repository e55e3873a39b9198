/*
 * table.c - open addressing over an array of entries.
 *
 * entries[] holds the pairs in the order of insertion; slots[] is a power of two of indices
 * into it, probed linearly from the hash of the key and never more than 2/3 full.  Nothing is
 * ever removed, so there are no tombstones.  The hash is XXH3 without a seed: keys that a
 * person chose to collide make the table slow, never wrong.
 */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/arena.h"
#include "base/table.h"

#define SLOTS_MIN ((size_t)16)

/* The slot that holds the key, or the empty one where it belongs. */
static size_t
slot_of(const struct hn_table *table, const char *key, size_t len)
{
	size_t mask = table->n_slots - 1;
	size_t slot = (size_t)XXH3_64bits(key, len) & mask;

	for (;; slot = (slot + 1) & mask) {
		const struct hn_table_entry *entry;

		if (!table->slots[slot])
			return slot;
		entry = &table->entries[table->slots[slot] - 1];
		if (entry->key_len == len && (!len || !memcmp(entry->key, key, len)))
			return slot;
	}
}

/* Doubles the slots and puts every entry back. */
static void
grow_slots(struct hn_table *table)
{
	size_t n_slots = table->n_slots ? table->n_slots * 2 : SLOTS_MIN;

	free(table->slots);
	table->slots = hn_alloc(n_slots * sizeof *table->slots);
	table->n_slots = n_slots;
	for (size_t i = 0; i < table->n; i++) {
		const struct hn_table_entry *entry = &table->entries[i];

		table->slots[slot_of(table, entry->key, entry->key_len)] = (uint32_t)(i + 1);
	}
}

/* Slots grow before the search, so that one search serves both the question and the
 * place. Entries may move, keys never do: a pointer to a key is valid until fini. */
bool
hn_table_put(struct hn_table *table, const char *key, size_t len, uint64_t value)
{
	struct hn_table_entry *entry;
	size_t slot;
	char *copy;

	if ((table->n + 1) * 3 > table->n_slots * 2)
		grow_slots(table);
	slot = slot_of(table, key, len);
	if (table->slots[slot]) {
		table->entries[table->slots[slot] - 1].value = value;
		return false;
	}
	HONE_BUG_ON(table->n >= UINT32_MAX - 1);
	copy = hn_alloc(len + 1);
	if (len)
		memcpy(copy, key, len);
	table->entries = hn_grow(table->entries, &table->cap, table->n + 1, sizeof *table->entries);
	entry = &table->entries[table->n++];
	*entry = (struct hn_table_entry){copy, len, value};
	table->slots[slot] = (uint32_t)table->n;
	return true;
}

/* The pointer is valid until the next put, which may move the entries. */
uint64_t *
hn_table_find(const struct hn_table *table, const char *key, size_t len)
{
	uint32_t index;

	if (!table->n)
		return NULL;
	index = table->slots[slot_of(table, key, len)];
	return index ? &table->entries[index - 1].value : NULL;
}

bool
hn_table_set(struct hn_table *table, const char *key, uint64_t value)
{
	return hn_table_put(table, key, strlen(key), value);
}

uint64_t *
hn_table_get(const struct hn_table *table, const char *key)
{
	return hn_table_find(table, key, strlen(key));
}

void
hn_table_fini(struct hn_table *table)
{
	for (size_t i = 0; i < table->n; i++)
		free((char *)(uintptr_t)table->entries[i].key);
	free(table->entries);
	free(table->slots);
	*table = (struct hn_table){0};
}
