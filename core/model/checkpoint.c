/*
 * checkpoint.c - what a path is, and what is missing when it is not a model.
 *
 * Content decides, never only the name: a file that begins with "GGUF" is GGUF.
 *
 *     folder with config.json and safetensors   Hugging Face
 *     file that begins with "GGUF"              GGUF
 *     folder with a .gguf only                  refused: names the file to give instead
 *     folder with pytorch_model.bin only        refused: pickle runs code; convert it
 *     .safetensors alone                        tensors only, no model
 */
#include "model/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "model/gguf.h"
#include "model/safetensors.h"

void
hn_checkpoint_close(struct hn_checkpoint *checkpoint)
{
	hn_tensor_file_close(&checkpoint->tensors);
	hn_model_config_close(&checkpoint->config);
	free(checkpoint->path);
	memset(checkpoint, 0, sizeof *checkpoint);
}

/* Only for the message: these files are never opened. */
static bool
is_pickle_name(const char *name)
{
	return hn_ends_with(name, ".bin") || hn_ends_with(name, ".pt") ||
		hn_ends_with(name, ".pth") || hn_ends_with(name, ".ckpt") ||
		hn_ends_with(name, ".pkl");
}

/* What else lies in a folder without config.json or without safetensors. */
static enum hone_status
fail_folder(const char *folder, const char *lacks, struct hone_error *err)
{
	char gguf[200] = "", pickle[200] = "";
	char **names = NULL;
	size_t n = 0;
	enum hone_status st = hn_dir_list(folder, &names, &n, err);

	for (size_t i = 0; i < n; i++) {
		if (!gguf[0] && hn_ends_with(names[i], ".gguf"))
			(void)snprintf(gguf, sizeof gguf, "%s", names[i]);
		if (!pickle[0] && is_pickle_name(names[i]))
			(void)snprintf(pickle, sizeof pickle, "%s", names[i]);
		free(names[i]);
	}
	free(names);
	if (st)
		return hone_fail_at(err, HONE_EMODEL, folder, 0, 0, "the folder cannot be read");
	if (gguf[0])
		return hone_fail_at(err, HONE_EMODEL, folder, 0, 0,
			"there is no %s in it, but a GGUF file; give its path: %s/%s", lacks,
			folder, gguf);
	if (pickle[0])
		return hone_fail_at(err, HONE_EMODEL, folder, 0, 0,
			"the weights are pickle (%s), which can run code and is not read; convert "
			"them to safetensors (save_pretrained of transformers does)",
			pickle);
	return hone_fail_at(err, HONE_EMODEL, folder, 0, 0,
		"there is no %s in it, and no .gguf file; is this the model's folder?", lacks);
}

/* An unreadable file is no GGUF; who opens it next gives the reason. */
static bool
is_gguf(const char *path)
{
	struct hn_map map = {0};
	bool is;

	if (hn_map_open(&map, path, HONE_EMODEL, NULL))
		return false;
	is = map.size >= 4 && memcmp(map.bytes, "GGUF", 4) == 0;
	hn_map_close(&map);
	return is;
}

/* Works for adapters too: one file, no config.json. */
enum hone_status
hn_tensors_open(struct hn_tensor_file *file, const char *path, struct hone_error *err)
{
	enum hone_status st;

	if (hn_path_is_dir(path)) {
		st = hn_safetensors_open_folder(file, path, err);
		return st == HONE_ENOTFOUND ? fail_folder(path, "safetensors file", err) : st;
	}
	st = hn_path_check_regular(path, HONE_EMODEL, err);
	if (st)
		return st;
	if (!hn_path_is_file(path))
		return hn_fail_absent(path, err);
	if (hn_ends_with(path, ".safetensors.index.json"))
		return hn_safetensors_open_index(file, path, err);
	if (is_gguf(path) || hn_ends_with(path, ".gguf"))
		return hn_gguf_open(file, path, err);
	return hn_safetensors_open(file, path, err);
}

/* Two different tensors where the configuration promises one. */
static enum hone_status
check_tie(const struct hn_checkpoint *checkpoint, struct hone_error *err)
{
	const struct hn_tensor_info *embed, *head;
	bool is_tied;
	enum hone_status st =
		hn_config_bool_or(&checkpoint->config, "tie_word_embeddings", false, &is_tied, err);

	if (st || !is_tied)
		return st;
	embed = hn_tensor_file_find(&checkpoint->tensors, "model.embed_tokens.weight");
	head = hn_tensor_file_find(&checkpoint->tensors, "lm_head.weight");
	if (!embed || !head)
		return HONE_OK;
	if (embed->n_bytes == head->n_bytes &&
		memcmp(embed->bytes, head->bytes, (size_t)head->n_bytes) == 0)
		return HONE_OK;
	return hone_fail_at(err, HONE_EMODEL, checkpoint->config.path, 0, 0,
		"tie_word_embeddings is true, and the file holds an lm_head.weight that differs "
		"from "
		"model.embed_tokens.weight; set it to false if the head was trained, "
		"or remove lm_head.weight");
}

/* The configuration first: it is small, and its errors are the plainer ones. */
static enum hone_status
open_folder(struct hn_checkpoint *made, struct hone_error *err)
{
	char *path = hn_path_join(made->path, "config.json");
	enum hone_status st;

	st = hn_path_check_regular(path, HONE_EMODEL, err);
	if (!st)
		st = hn_path_is_file(path) ? hn_model_config_open(&made->config, path, err)
					   : fail_folder(made->path, "config.json", err);
	free(path);
	if (!st)
		st = hn_tensors_open(&made->tensors, made->path, err);
	return st ? st : check_tie(made, err);
}

/* A safetensors file alone does not say what model it is. */
static enum hone_status
open_file(struct hn_checkpoint *made, struct hone_error *err)
{
	enum hone_status st;

	if (!is_gguf(made->path) && hn_ends_with(made->path, ".safetensors"))
		return hone_fail_at(err, HONE_EMODEL, made->path, 0, 0,
			"a model needs the config.json beside its weights; give the folder");
	st = hn_gguf_open(&made->tensors, made->path, err);
	if (!st)
		st = hn_model_config_from_gguf(&made->config, &made->tensors, err);
	return st;
}

enum hone_status
hn_checkpoint_open(struct hn_checkpoint *checkpoint, const char *path, struct hone_error *err)
{
	struct hn_checkpoint made = {.path = hn_strdup(path)};
	enum hone_status st;

	if (hn_path_is_dir(path))
		st = open_folder(&made, err);
	else if (hn_path_is_file(path))
		st = open_file(&made, err);
	else if (!(st = hn_path_check_regular(path, HONE_EMODEL, err)))
		st = hn_fail_absent(path, err);
	if (st)
		hn_checkpoint_close(&made);
	else
		*checkpoint = made;
	return st;
}
