// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU that simulates power failures: lines in the caches of the
 * processor are discarded.
 *
 * It follows the stores of the guest to an NVDIMM. A store is in the cache until
 * the guest writes the line back (CLWB, CLFLUSHOPT, CLFLUSH), or it bypasses the
 * cache (MOVNTI). Then the line is pending, and the next SFENCE makes it durable.
 * At a random moment the plugin makes an image of what a power failure can leave
 * on the NVDIMM: each line that is not durable has its last durable contents, or
 * later ones, or words of both. Then the guest runs on to the next moment. After
 * the last one, QEMU exits.
 *
 * A fence of the kernel counts for the lines of all processors, because a thread
 * can have moved from another one. A fence of a program counts for the stores of
 * programs that bypass the caches, as MAP_SYNC allows. MFENCE does not count, nor
 * do write-backs by programs. Processors order stores by MFENCE, too, but the
 * kernel uses it for other purposes, such as interrupts between processors, and
 * code that relies on those has a bug.
 *
 *	memory=PATH	the file of the NVDIMM, which the plugin maps shared
 *	base=ADDRESS	the physical address of the NVDIMM in the guest
 *	moments=N	number of power failures
 *	keep=PERCENT	part of the lines that survive without being durable [random]
 *	seed=N		seed of all random numbers
 *	progress=PATH	folder of the files in which the guest records its progress
 *	images=PATH	folder for the results of power failure N: the image nvdimmN,
 *			summaryN with the number of discarded lines, and progressN,
 *			a copy of the other folder
 *
 * With record=PATH the plugin makes no images. It records the stores, write-backs
 * and fences of the guest, and the marks of programs, for "fsmodel states", which
 * makes and checks the states that power failures can leave. Only memory and base
 * are needed then.
 */

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lines.h"
#include "plugin.h"

#define WORD		8
#define DIRECT_MAP	0xffff888000000000ULL
#define USER_END	0x0000800000000000ULL
#define RANDOM		~0ULL

int qemu_plugin_version __attribute__((visibility("default"))) = 4;

/* A line that the next fence makes durable, with the contents that become durable. */
struct pending {
	uint64_t line;
	/* Only programs have stored to the line. */
	bool is_program;
	uint8_t bytes[LINE];
};

static uint8_t *memory, *durable;
static bool *dirty;
static uint64_t size, base, moments, keep = RANDOM, seed;
static const char *file, *progress, *images, *record;

/*
 * The next power failure has the number @moment. It is @stores stores after fence number @fences.
 * Only fences that make a line durable count.
 */
static uint64_t fences, stores, moment;

static struct pending *pending;
static size_t pending_count, pending_room;
static uint64_t fences_done, stores_left;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A program makes a mark with the number in RAX by NOP DWORD PTR [RAX + "mark"]. */
static const uint8_t mark[] = { 0x0f, 0x1f, 0x80, 'm', 'a', 'r', 'k' };

_Noreturn void die(const char *what, const char *of)
{
	fprintf(stderr, "lines: %s: %s\n", of, what);
	_exit(1);
}

/* splitmix64 */
static uint64_t random_number(void)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/*
 * Reverts a line to its durable contents. In a quarter of the cases only some of
 * its words are reverted, because only the store of a word is atomic.
 */
static void revert_line(uint8_t *now, const uint8_t *then)
{
	uint64_t words = random_number();
	size_t i;

	if (random_number() % 4)
		words = ~0ULL;
	for (i = 0; i < LINE / WORD; i++)
		if (words >> i & 1)
			memcpy(now + i * WORD, then + i * WORD, WORD);
}

static void choose_moment(void)
{
	fences = fences_done + 1 + random_number() % (random_number() % 2 ? 50 : 1000);
	/* In half of the cases the power fails at the fence itself. */
	stores = random_number() % 2 ? 1 + random_number() % 200 : 0;
	moment++;
}

/* Returns the path of a result of this power failure. */
static const char *path_of(const char *what)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/%s%llu", images, what, (unsigned long long)moment);
	return path;
}

/* Replaces the memory by a copy in its own file. */
static void copy_memory(void)
{
	const char *path = path_of("nvdimm");
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
	uint8_t *copy;

	if (fd < 0 || ftruncate(fd, size))
		die("cannot be made", path);
	copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (copy == MAP_FAILED)
		die("no memory", path);
	memcpy(copy, memory, size);
	memory = copy;
}

/* Discards lines that are not durable. */
static void discard_lines(void)
{
	static const uint64_t keeps[] = { 0, 10, 50, 90 };
	uint64_t percent = keep == RANDOM ? keeps[random_number() % 4] : keep;
	uint64_t line, undone = 0, discarded = 0, unseen = 0;
	const char *path = path_of("summary");
	size_t i, arrived = pending_count;
	FILE *to = fopen(path, "w");

	if (!to)
		die("cannot be written", path);

	/* In half of the cases only the last lines arrive, because only a fence orders lines. */
	if (keep == RANDOM && random_number() % 2) {
		percent = 0;
		arrived = random_number() % (pending_count + 1);
	}

	/* A pending line can arrive. Versions of the same line arrive in the order of the list. */
	for (i = 0; i < pending_count; i++) {
		dirty[pending[i].line] = true;
		if (i >= arrived || random_number() % 100 < percent)
			memcpy(durable + pending[i].line * LINE, pending[i].bytes, LINE);
	}
	/* The processor can write a line of its cache back at any time. */
	for (line = 0; line < size / LINE; line++) {
		uint8_t *now = memory + line * LINE, *then = durable + line * LINE;

		if (!memcmp(now, then, LINE))
			continue;
		/* A store of another processor is done, but its callback has not run yet. */
		if (!dirty[line]) {
			unseen++;
			continue;
		}
		undone++;
		if (random_number() % 100 < percent)
			continue;
		revert_line(now, then);
		discarded++;
	}
	fprintf(to, "%llu of %llu lines discarded after %llu fences, %llu unseen\n",
		(unsigned long long)discarded, (unsigned long long)undone,
		(unsigned long long)fences_done, (unsigned long long)unseen);
	if (fclose(to))
		die("cannot be written", path);
}

/*
 * Simulates a power failure, in a child process that has a copy of all state. The
 * caller holds the lock, so the guest cannot store to the NVDIMM meanwhile, and the
 * copy of the progress cannot be newer than the image.
 */
static void fail_power(void)
{
	pid_t child;
	int status;

	child = fork();
	if (child < 0)
		die("cannot fork", "power failure");
	if (!child) {
		copy_memory();
		discard_lines();
		execlp("cp", "cp", "-rT", progress, path_of("progress"), NULL);
		die("cannot be run", "cp");
	}
	if (waitpid(child, &status, 0) != child || status)
		die("not made", path_of("image "));
	if (moment == moments)
		_exit(0);
	/* The child has used the next random numbers, so the parent must use others. */
	seed = random_number();
	choose_moment();
}

static void add_pending(uint64_t line, bool is_program)
{
	struct pending *last = pending_count ? &pending[pending_count - 1] : NULL;

	if (!last || last->line != line) {
		if (pending_count == pending_room) {
			pending_room = pending_room ? pending_room * 2 : 1024;
			pending = realloc(pending, pending_room * sizeof(*pending));
			if (!pending)
				die("no memory", "list");
		}
		last = &pending[pending_count++];
		last->line = line;
		last->is_program = is_program;
	}
	last->is_program &= is_program;
	memcpy(last->bytes, memory + line * LINE, LINE);
}

/* Handles a store to bytes of the device. */
static void store(uint64_t at, uint64_t len, bool bypasses, bool is_program)
{
	uint64_t line;

	pthread_mutex_lock(&lock);
	for (line = at / LINE; line <= (at + len - 1) / LINE && line < size / LINE; line++) {
		if (record) {
			uint64_t start = at > line * LINE ? at : line * LINE;
			uint64_t end = at + len < (line + 1) * LINE ? at + len : (line + 1) * LINE;

			record_store(start, memory + start, end - start, bypasses,
				     is_program);
		} else if (bypasses) {
			add_pending(line, is_program);
		} else {
			dirty[line] = true;
		}
	}
	if (stores_left && --stores_left == 0)
		fail_power();
	pthread_mutex_unlock(&lock);
}

static void on_store(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *data)
{
	uint64_t at;

	/* Check the linear map first: most stores are stores of the kernel to other memory. */
	if (vaddr >= DIRECT_MAP) {
		at = vaddr - DIRECT_MAP - base;
	} else if (vaddr < USER_END) {
		struct qemu_plugin_hwaddr *hwaddr = qemu_plugin_get_hwaddr(info, vaddr);

		if (!hwaddr)
			return;
		at = qemu_plugin_hwaddr_phys_addr(hwaddr) - base;
	} else {
		return;
	}
	if (at < size)
		store(at, 1ULL << qemu_plugin_mem_size_shift(info), data, vaddr < USER_END);
}

/* Whether a fence of a program or of the kernel makes a pending line durable. */
static bool has_effect(bool is_program)
{
	size_t i;

	for (i = 0; i < pending_count; i++)
		if (!is_program || pending[i].is_program)
			return true;
	return false;
}

static void on_fence(unsigned int vcpu, void *is_program)
{
	size_t i, left = 0;

	pthread_mutex_lock(&lock);
	if (record) {
		record_event(FENCE, 0, is_program);
	} else if (has_effect(is_program)) {
		bool is_chosen = ++fences_done == fences;

		if (is_chosen)
			stores_left = stores;
		if (is_chosen && !stores)
			fail_power();
		for (i = 0; i < pending_count; i++) {
			if (!is_program || pending[i].is_program)
				memcpy(durable + pending[i].line * LINE, pending[i].bytes, LINE);
			else
				pending[left++] = pending[i];
		}
		pending_count = left;
	}
	pthread_mutex_unlock(&lock);
}

static void on_write_back(unsigned int vcpu, void *data)
{
	uint64_t at = address_of(data) - DIRECT_MAP - base;

	if (at >= size)
		return;
	pthread_mutex_lock(&lock);
	if (record) {
		record_event(WRITE_BACK, at / LINE * LINE, false);
	} else if (dirty[at / LINE]) {
		dirty[at / LINE] = false;
		add_pending(at / LINE, false);
	}
	pthread_mutex_unlock(&lock);
}

static void on_mark(unsigned int vcpu, void *data)
{
	uint64_t value = read_register(0);

	pthread_mutex_lock(&lock);
	record_event(MARK, value, true);
	pthread_mutex_unlock(&lock);
}

/* Registers the callback of an instruction, if it is a mark, a fence, a write-back or a store. */
static void instrument(struct qemu_plugin_insn *insn)
{
	uint8_t bytes[16] = { 0 };
	bool bypasses;
	uint8_t rex = 0;
	size_t i = 0;

	qemu_plugin_insn_data(insn, bytes, sizeof(bytes));
	if (record && !memcmp(bytes, mark, sizeof(mark))) {
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, CB_R_REGS, NULL);
		return;
	}
	while (i < 4 && (bytes[i] == 0x66 || bytes[i] == 0x3e || bytes[i] == 0x2e))
		i++;
	if ((bytes[i] & 0xf0) == 0x40)
		rex = bytes[i++];

	if (bytes[i] == 0x0f && bytes[i + 1] == 0xae) {
		uint8_t modrm = bytes[i + 2], which = modrm >> 3 & 7;

		if (modrm == 0xf8) {
			bool is_program = qemu_plugin_insn_vaddr(insn) < USER_END;

			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_fence, CB_NO_REGS,
							       (void *)(uintptr_t)is_program);
			return;
		}
		/* 6 is CLWB with the prefix 0x66, else XSAVEOPT. 7 is CLFLUSHOPT or CLFLUSH. */
		if (modrm < 0xc0 && (which == 7 || (which == 6 && bytes[0] == 0x66))) {
			struct operand *op = malloc(sizeof(*op));

			if (!op)
				die("no memory", "operand");
			op->rex = rex;
			memcpy(op->bytes, bytes + i + 2, sizeof(op->bytes));
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_write_back, CB_R_REGS, op);
			return;
		}
	}
	/* MOVNTI */
	bypasses = bytes[i] == 0x0f && bytes[i + 1] == 0xc3;
	qemu_plugin_register_vcpu_mem_cb(insn, on_store, CB_NO_REGS, MEM_W,
					 (void *)(uintptr_t)bypasses);
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t i;

	for (i = 0; i < qemu_plugin_tb_n_insns(tb); i++)
		instrument(qemu_plugin_tb_get_insn(tb, i));
}

static void on_vcpu(qemu_plugin_id_t id, unsigned int vcpu)
{
	find_registers();
}

static void on_exit_of_qemu(qemu_plugin_id_t id, void *data)
{
	end_record();
}

static void map_file(void)
{
	struct stat st;
	int fd = open(file, O_RDWR);

	if (fd < 0 || fstat(fd, &st))
		die("cannot be opened", file);
	size = st.st_size;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	durable = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	dirty = calloc(size / LINE, sizeof(*dirty));
	if (memory == MAP_FAILED || durable == MAP_FAILED || !dirty)
		die("no memory", file);
	memcpy(durable, memory, size);
	close(fd);
}

static bool argument(const char *arg, const char *name, const char **text, uint64_t *value)
{
	size_t len = strlen(name);

	if (strncmp(arg, name, len) || arg[len] != '=')
		return false;
	if (text)
		*text = arg + len + 1;
	else
		*value = strtoull(arg + len + 1, NULL, 0);
	return true;
}

int __attribute__((visibility("default")))
qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv)
{
	int i;

	for (i = 0; i < argc; i++) {
		if (!argument(argv[i], "memory", &file, NULL) &&
		    !argument(argv[i], "progress", &progress, NULL) &&
		    !argument(argv[i], "images", &images, NULL) &&
		    !argument(argv[i], "record", &record, NULL) &&
		    !argument(argv[i], "base", NULL, &base) &&
		    !argument(argv[i], "moments", NULL, &moments) &&
		    !argument(argv[i], "keep", NULL, &keep) &&
		    !argument(argv[i], "seed", NULL, &seed))
			die("unknown argument", argv[i]);
	}
	if (!file || !base || (!record && (!progress || !images || !moments)))
		die("need memory, base, and record or progress, images, moments", "arguments");
	map_file();
	if (record) {
		begin_record(record);
		qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
	} else {
		choose_moment();
	}
	qemu_plugin_register_vcpu_init_cb(id, on_vcpu);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	return 0;
}
