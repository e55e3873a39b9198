/*
 * support/plugin_values.h - options of in-tree plugins, laid out as their option tables write
 * them, for tests that call a plugin without a configuration.
 */
#ifndef HN_TEST_PLUGIN_VALUES_H
#define HN_TEST_PLUGIN_VALUES_H

#include <hone/adapter.h>
#include <hone/option.h>

struct lora_values {
	int64_t r;
	double lora_alpha, lora_dropout;
	const struct hone_site_set *target_modules;
	const struct hone_site_map *rank_pattern, *alpha_pattern;
	int32_t use_rslora, init_lora_weights;
	const char *init_from;
};

struct layerwise_values {
	struct hone_strings layers;
	int32_t train_embeddings, train_norms, train_head;
};

struct sft_values {
	int32_t completion_only_loss, assistant_only_loss;
	double label_smoothing_factor;
};

#endif
