/*
 * hone and llama.cpp at the same work, in turns, in one run: prefill and decoding of one prompt
 * from one GGUF file.
 *
 *     generate.mjs MODEL.gguf [--build BUILD] [--modules FOLDER] [--threads 2] [--rounds 5]
 *                  [--prompt-tokens 512] [--new-tokens 128] [--compute f32]
 *
 * FOLDER has node-llama-cpp and its build for this platform's processor (npm i node-llama-cpp
 * --omit=optional, then npm i @node-llama-cpp/linux-x64); by default it is the current one.
 * llama.cpp is called below its sampler's settings: one sequence, greedy, the whole prompt as
 * one evaluation, then token after token.  Both get random token ids, and both times are of the
 * wall: until the prompt is in the cache and has its first token, and for the tokens after it.
 * Every round runs llama.cpp and then bench_generate, so that what else the machine does falls
 * on both.
 */
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");

function option(name, otherwise) {
	const at = process.argv.indexOf("--" + name);
	return at < 0 ? otherwise : process.argv[at + 1];
}

const arg = {
	model: process.argv[2],
	build: option("build", path.join(root, "build")),
	modules: option("modules", process.cwd()),
	compute: option("compute", "f32"),
	threads: Number(option("threads", 2)),
	rounds: Number(option("rounds", 5)),
	prompt: Number(option("prompt-tokens", 512)),
	answer: Number(option("new-tokens", 128)),
};

/* node-llama-cpp offers modules only, which are found by path. */
async function importLlama() {
	const require = createRequire(path.join(path.resolve(arg.modules), "package.json"));
	const folder = require.resolve.paths("node-llama-cpp")
		.map((place) => path.join(place, "node-llama-cpp", "dist", "index.js"));
	for (const file of folder) {
		try {
			return await import(pathToFileURL(file).href);
		} catch (error) {
			if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
		}
	}
	throw new Error(`${arg.modules} has no node-llama-cpp: install it as the head of this file says`);
}

async function openLlama() {
	const { getLlama, LlamaLogLevel } = await importLlama();
	const llama = await getLlama({
		gpu: false, build: "never", maxThreads: arg.threads, logLevel: LlamaLogLevel.error,
	});
	const model = await llama.loadModel({ modelPath: path.resolve(arg.model), gpuLayers: 0 });
	const context = await model.createContext({
		contextSize: arg.prompt + arg.answer + 8, batchSize: 512,
		threads: { ideal: arg.threads, min: arg.threads },
	});
	return { model, context, sequence: context.getSequence() };
}

/* Ids by a small generator, so that every round has the same. */
function tokens(n, vocabulary) {
	let state = 1;
	return Array.from({ length: n }, () => {
		state = (state * 48271) % 2147483647;
		return state % vocabulary;
	});
}

async function runLlama(peer) {
	const ids = tokens(arg.prompt, 49000);
	await peer.sequence.clearHistory();
	const begin = performance.now();
	const answer = peer.sequence.evaluate(ids, { temperature: 0, yieldEogToken: true });
	let first = 0, n = 0;
	for await (const token of answer) {
		void token;
		if (n++ === 0) first = performance.now();
		if (n === arg.answer) break;
	}
	const end = performance.now();
	return {
		prefill: arg.prompt / (first - begin) * 1e3,
		decode: (n - 1) / (end - first) * 1e3,
	};
}

function runHone() {
	const out = execFileSync(path.join(arg.build, "etc/bench/bench_generate"), [
		path.resolve(arg.model), "--json", "--rounds", "1", "--wall",
		"--threads", String(arg.threads), "--compute", arg.compute,
		"--prompt-tokens", String(arg.prompt), "--new-tokens", String(arg.answer),
	]);
	const answer = JSON.parse(out);
	return {
		prefill: answer.prefill_tok_s, decode: answer.decode_tok_s,
		share: answer.bandwidth_share,
	};
}

function best(rounds, key) {
	return Math.max(...rounds.map((round) => round[key]));
}

function median(rounds, key) {
	const sorted = rounds.map((round) => round[key]).sort((a, b) => a - b);
	return sorted[Math.floor(sorted.length / 2)];
}

function line(name, rounds) {
	const text = (key) =>
		`${best(rounds, key).toFixed(1)} (median ${median(rounds, key).toFixed(1)})`;
	console.log(`${name.padEnd(10)} prefill ${text("prefill")} tok/s, decode ${text("decode")} tok/s`);
}

const peer = await openLlama();
const theirs = [], ours = [];
await runLlama(peer); /* the file's pages come in, once for both */
for (let i = 0; i < arg.rounds; i++) {
	theirs.push(await runLlama(peer));
	ours.push(runHone());
}
console.log(`${path.basename(arg.model)}, ${arg.prompt} + ${arg.answer} tokens, ` +
	`${arg.threads} threads, ${arg.rounds} rounds`);
line("llama.cpp", theirs);
line("hone", ours);
for (const key of ["prefill", "decode"])
	console.log(`${key}: hone is ${(best(ours, key) / best(theirs, key)).toFixed(2)} times ` +
		`llama.cpp (median ${(median(ours, key) / median(theirs, key)).toFixed(2)})`);
console.log(`hone's share of the bandwidth: best ${(100 * best(ours, "share")).toFixed(0)} %`);
await peer.context.dispose();
await peer.model.dispose();
process.exit(0);
