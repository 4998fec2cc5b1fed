# make                      build/t2t
# make quickstart           jobs/quickstart: from a bare machine to a trained model
# make test                 tests/run: the whole suite
# make test-full            the suite with every published model at full size
# make ranks                the quickstart on 1, 2, 3 and 4 ranks: the same losses
# make stories              the installed program from outside, as README.md and jobs/README.md say it
# make net                  the sums over a network of namespaces, free, limited and cut (root)
# make simulate             16 nodes under SimGrid, against what `t2t plan` says
# make bench | peer         measurements; checks against PyTorch, Pillow and timm (Python, by hand)
# make fuzz                 libFuzzer targets, FUZZ_SECONDS each (clang)
# make install PREFIX=DIR   program, job scripts, configurations, man pages, bash completion (DESTDIR is honoured)
# make dist                 a tarball that builds without git
# make format | lint | clean
#
# Switches: V=1 shows commands; SANITIZER=address|undefined|thread|address,undefined builds in a folder of its own;
# CC=clang; MPICC=mpicc.mpich BUILD=build/mpich builds with another MPI.
# Libraries in unusual places (a module of a cluster): BLIS_CFLAGS=-I... BLIS_LIBS='-L... -lblis', MPI_CFLAGS=, MPI_LIBS=,
# and PKG_CONFIG_PATH for the rest.

CC         = gcc
MPICC     ?= mpicc
PKG_CONFIG ?= pkg-config
PREFIX    ?= /usr/local
SANITIZER ?=
FUZZ_SECONDS ?= 60

comma := ,
BUILD ?= build$(if $(SANITIZER),/$(subst $(comma),-,$(SANITIZER)))

# Open MPI's wrapper answers --showme, MPICH's answers -show with the whole command line.
MPI_CFLAGS ?= $(shell $(MPICC) --showme:compile 2>/dev/null || $(MPICC) -show | cut -d' ' -f2-)
MPI_LIBS   ?= $(shell $(MPICC) --showme:link 2>/dev/null || $(MPICC) -show | cut -d' ' -f2-)

# BLIS has no pkg-config file. Debian keeps the serial build in a folder of its own; the rpath makes sure that it is
# that one which runs, since our own threads call it.
BLIS_DIR    := $(firstword $(wildcard /usr/lib/*/blis-serial))
BLIS_CFLAGS ?= $(addprefix -I,$(firstword $(wildcard /usr/include/*/blis-serial /usr/include/blis)))
BLIS_LIBS   ?= $(if $(BLIS_DIR),-L$(BLIS_DIR) -Wl$(comma)-rpath$(comma)$(BLIS_DIR)) -lblis

PACKAGES   := lmdb libjpeg libpng yaml-0.1 libxxhash jansson zlib libarchive
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES))
PKG_LIBS   := $(shell $(PKG_CONFIG) --libs $(PACKAGES))

CPPFLAGS += -I. -I$(BUILD) -D_GNU_SOURCE
OPTIMIZE ?= -O2
CFLAGS   ?= $(OPTIMIZE) -g
# No contraction of a*b+c; kernels say where they fuse: the same bits from every compiler and ISA.
# Hidden: a name of ours never takes the place of a library's own, whatever either is called.
T2T_CFLAGS = -std=c11 -Wall -Wextra -Werror -fvisibility=hidden -ffp-contract=off -fno-math-errno -fno-trapping-math -pthread \
             $(if $(SANITIZER),-fsanitize=$(SANITIZER) -fno-omit-frame-pointer -fno-sanitize-recover=all)
LIBS       = $(BLIS_LIBS) $(PKG_LIBS) $(MPI_LIBS) -lm -pthread

# Files compiled for one instruction set carry its name, and are left out where the compiler's processor has none of it;
# which of the others run is chosen at run time.
ifneq ($(filter x86_64-%,$(shell $(CC) -dumpmachine)),)
OTHER_ISAS := %_neon.c
$(BUILD)/%_avx2.o: ISA_CFLAGS = -O3 -mavx2 -mfma
# Pixels want AVX2 alone, and are the same bytes without.
$(BUILD)/data/%_avx2.o: ISA_CFLAGS = -O3 -mavx2
$(BUILD)/%_avx512.o: ISA_CFLAGS = -O3 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512
$(BUILD)/core/kernels/bf16_avx512.o: ISA_CFLAGS = -O3 $(BF16_CFLAGS)
$(BUILD)/core/kernels/bf16_amx.o: ISA_CFLAGS = -O3 $(BF16_CFLAGS) -mamx-tile -mamx-bf16
BF16_CFLAGS = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mfma -mprefer-vector-width=512
else
OTHER_ISAS := %_avx2.c %_avx512.c %_amx.c $(if $(filter aarch64-%,$(shell $(CC) -dumpmachine)),,%_neon.c)
# GCC would load all of a step's operands ahead of its multiply-adds, and spill the sums of C for want of registers.
$(BUILD)/%_neon.o: ISA_CFLAGS = -O3 -fno-schedule-insns
endif

# Emulated products: loops that GCC vectorises only from -O3 on.
$(BUILD)/core/kernels/bf16_emulated.o: ISA_CFLAGS = -O3

# The sums and conversions of the ring: plain loops, which GCC vectorises only from -O3 on.
$(BUILD)/dist/comm/compression.o: ISA_CFLAGS = -O3

ROOM_SOURCES := $(filter-out $(OTHER_ISAS),$(wildcard core/*/*.c data/*/*.c dist/*/*.c))
TOOL_SOURCES := $(wildcard tools/*.c tools/bench/*.c)
UNIT_SOURCES := $(wildcard tests/core/*/*.c tests/data/*/*.c tests/dist/*/*.c tests/tools/*.c tests/tools/bench/*.c)
SUPPORT_SOURCES := $(filter-out tests/support/keep_libraries.c,$(wildcard tests/support/*.c))
MPI_TESTS    := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/mpi/*.c))
BENCHES      := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/*.c))

KEEP_LIBRARIES := $(if $(findstring address,$(SANITIZER)),$(BUILD)/tests/support/keep_libraries.o)

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
ROOM_OBJECTS := $(call objects,$(ROOM_SOURCES))
ALL_OBJECTS  := $(call objects,$(ROOM_SOURCES) $(TOOL_SOURCES) $(UNIT_SOURCES) $(SUPPORT_SOURCES) \
                  $(wildcard tests/mpi/*.c tests/bench/*.c tests/fuzz/*.c tests/stories/*.c))

ifeq ($(V),1)
say =
else
say = @printf '  %-4s %s\n' $(1) $(2);
endif

.PHONY: all quickstart test test-full ranks stories net simulate tests bench peer fuzz fuzzers install dist format lint clean check-libraries FORCE
all: $(BUILD)/t2t

$(BUILD)/t2t: $(call objects,$(TOOL_SOURCES)) $(KEEP_LIBRARIES) $(BUILD)/libt2t.a
	$(call say,LINK,$@)$(CC) $(T2T_CFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/libt2t.a: $(ROOM_OBJECTS)
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/%.o: %.c $(BUILD)/flags | $(BUILD)/version.h
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(T2T_CFLAGS) $(CFLAGS) $(ISA_CFLAGS) $(BLIS_CFLAGS) \
	  $(PKG_CFLAGS) $(MPI_CFLAGS) -DBUILD_FOLDER='"$(BUILD)"' -MMD -MP -c -o $@ $<

# Rebuilds everything when the compiler or the flags change.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D); echo '$(CC) $(CPPFLAGS) $(T2T_CFLAGS) $(CFLAGS) $(BLIS_CFLAGS) $(PKG_CFLAGS) $(MPI_CFLAGS)' >$@.new; \
	  cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(BUILD)/version.h: FORCE
	@mkdir -p $(@D); echo "#define T2T_VERSION \"$$(cat VERSION 2>/dev/null || git describe --always --dirty 2>/dev/null || echo unknown)\"" >$@.new; \
	  cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(call objects,$(wildcard tools/t2t.c dist/checkpoint/checkpoint.c dist/train/same_run.c dist/train/provenance_collect.c tests/tools/test_t2t.c)): $(BUILD)/version.h

# ---- tests
tests: $(BUILD)/t2t $(BUILD)/tests/unit $(MPI_TESTS)

$(BUILD)/tests/unit: $(call objects,$(UNIT_SOURCES) $(SUPPORT_SOURCES)) $(KEEP_LIBRARIES) $(BUILD)/libt2t.a
	$(call say,LINK,$@)$(CC) $(T2T_CFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $$($(PKG_CONFIG) --libs criterion) $(LIBS)

$(MPI_TESTS) $(BENCHES): $(BUILD)/%: $(BUILD)/%.o $(KEEP_LIBRARIES) $(BUILD)/libt2t.a
	$(call say,LINK,$@)$(CC) $(T2T_CFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# What the stories need to make an ImageNet of their own.
$(BUILD)/tests/stories/write_meta: $(BUILD)/tests/stories/write_meta.o $(BUILD)/tests/support/devkit.o $(BUILD)/data/dataset/imagenet_classes.o \
                                $(KEEP_LIBRARIES)
	$(call say,LINK,$@)$(CC) $(T2T_CFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lz

# Its own calloc and so on, which fail when told to.
$(BUILD)/tests/mpi/creation: LDFLAGS += -Wl,--wrap=calloc,--wrap=aligned_alloc,--wrap=pthread_create,--wrap=MPI_Win_allocate_shared

test:
	@tests/run
test-full:
	@tests/run --full
ranks:
	@tests/ranks
stories:
	@tests/stories/run
net:
	@tests/net/run
simulate:
	@tests/simgrid/run
quickstart:
	@jobs/quickstart
bench: $(BENCHES) $(BUILD)/t2t
	@for bench in $(BENCHES); do $$bench || exit 1; done
peer: $(BUILD)/t2t
	@tests/peer/run

# Each target is one .c file with LLVMFuzzerTestOneInput; seeds in tests/fuzz/seeds/<name>. Built by clang in a folder
# of its own, so that the code under test carries the fuzzer's coverage counters.
FUZZ_BUILD = build/fuzz
FUZZERS   := $(patsubst tests/fuzz/%.c,$(FUZZ_BUILD)/%,$(wildcard tests/fuzz/*.c))
FUZZ_TOOL_OBJECTS := $(FUZZ_BUILD)/tools/trace_input.o
fuzzers:
	@$(MAKE) --no-print-directory CC=clang BUILD=$(FUZZ_BUILD) CFLAGS='-O1 -g -fsanitize=fuzzer-no-link,address,undefined \
	  -fno-sanitize-recover=all' $(FUZZ_BUILD)/libt2t.a $(FUZZ_TOOL_OBJECTS) \
	  $(patsubst tests/fuzz/%.c,$(FUZZ_BUILD)/tests/fuzz/%.o,$(wildcard tests/fuzz/*.c))
	@for name in $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c)); do \
	  clang -fsanitize=fuzzer,address,undefined -o $(FUZZ_BUILD)/$$name $(FUZZ_BUILD)/tests/fuzz/$$name.o \
	    $(FUZZ_TOOL_OBJECTS) $(FUZZ_BUILD)/libt2t.a $(LIBS) || exit 1; done
fuzz: fuzzers
	@for fuzzer in $(FUZZERS); do name=$$(basename $$fuzzer); mkdir -p $(BUILD)/corpus/$$name; \
	  echo "  FUZZ $$name, $(FUZZ_SECONDS) s"; \
	  $$fuzzer -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -print_final_stats=0 -verbosity=0 \
	    $(BUILD)/corpus/$$name $$(ls -d tests/fuzz/seeds/$$name 2>/dev/null) >$(FUZZ_BUILD)/$$name.log 2>&1 \
	    || { cat $(FUZZ_BUILD)/$$name.log; exit 1; }; done

# ---- the rest
# Whether every library can be included and linked; jobs/packages asks on systems without apt.
HEADERS = mpi.h blis.h lmdb.h stdio.h jpeglib.h png.h yaml.h xxhash.h jansson.h zlib.h archive.h
check-libraries:
	@mkdir -p $(BUILD); { printf '#include <%s>\n' $(HEADERS); echo 'int main(void) { return 0; }'; } \
	  | $(CC) -std=c11 -D_GNU_SOURCE $(BLIS_CFLAGS) $(PKG_CFLAGS) $(MPI_CFLAGS) -x c - -o $(BUILD)/check-libraries $(LIBS)

install: $(BUILD)/t2t
	install -D -m 755 $(BUILD)/t2t $(DESTDIR)$(PREFIX)/bin/t2t
	install -m 755 tools/pth2safetensors $(DESTDIR)$(PREFIX)/bin/pth2safetensors
	install -d $(DESTDIR)$(PREFIX)/share/t2t/configs $(DESTDIR)$(PREFIX)/share/t2t/jobs
	install -m 644 configs/*.yaml $(DESTDIR)$(PREFIX)/share/t2t/configs
	install -m 755 $$(find jobs -maxdepth 1 -type f ! -name '*.md' ! -name '*.def') $(DESTDIR)$(PREFIX)/share/t2t/jobs
	tools/manual man $(BUILD)/t2t $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	tools/manual completion $(BUILD)/t2t >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/t2t
	$(BUILD)/t2t train --schema >$(DESTDIR)$(PREFIX)/share/t2t/config.schema.json

# A tarball that builds without git.
dist:
	@mkdir -p $(BUILD); version=$$(git describe --always); echo $$version >$(BUILD)/VERSION; \
	  git archive --prefix=t2t-$$version/ --add-file=$(BUILD)/VERSION -o $(BUILD)/t2t-$$version.tar.gz HEAD && \
	  echo $(BUILD)/t2t-$$version.tar.gz

C_FILES = $(shell git ls-files '*.c' '*.h')
format:
	clang-format -i $(C_FILES)
lint:
	@clang-format --dry-run -Werror $(C_FILES)
	@tests/support/rooms
	@cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr --error-exitcode=1 \
	  --suppressions-list=tests/support/cppcheck.supp --suppress=missingIncludeSystem -I. core data dist tools
clean:
	rm -rf build

-include $(ALL_OBJECTS:.o=.d)
