# The short front of the build; meson and ninja do the work. `make help` says what there is.
NINJA  := ninja $(JOBS:%=-j%)
BUILD  := build
# seconds that each fuzz target runs in `make fuzz`
SECONDS_EACH := 60

.PHONY: all build run test lint fuzz bench soak install clean help deps-%
all: build

deps-%:
	@tool/deps $*

# Configures once; ninja sees by itself when a meson.build has changed.
$(BUILD)/build.ninja: | deps-build
	@meson setup $(BUILD) >$(BUILD).log || { cat $(BUILD).log; rm -f $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

build: deps-build $(BUILD)/build.ninja
	@$(NINJA) -C $(BUILD) weir

run: deps-run build
	@exec examples/flash-sale/run

test: deps-test
	@exec tool/test

lint: deps-lint $(BUILD)/build.ninja
	@exec tool/lint

fuzz: deps-fuzz
	@exec tool/fuzz $(SECONDS_EACH)

bench: deps-bench build
	@$(NINJA) -C $(BUILD) origin bench_load bench_queue
	@/usr/bin/python3 bench/run.py --load $(BUILD)/bench_load $(BENCH_ARGS)
	@/usr/bin/python3 bench/orders.py --weir $(BUILD)/weir
	@exec /usr/bin/python3 bench/queue.py --weir $(BUILD)/weir --client $(BUILD)/bench_queue

SOAK_TESTS = $(patsubst %,src/ledger_%_test,crash simulation queue_simulation stock_simulation kv_simulation)
soak: deps-bench deps-test build
	@meson configure $(BUILD) -Dtests=enabled
	@$(NINJA) -C $(BUILD) origin bench_load $(SOAK_TESTS)
	@bench/soak_ledger $(BUILD)
	@WEIR_LOOPS=both tool/test asan-system
	@exec /usr/bin/python3 bench/soak

install: build
	@meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf build build-asan build-fuzz

help:
	@echo 'make          builds build/weir'
	@echo 'make run      starts the flash-sale example: three small servers and weir in front of them'
	@echo 'make test     builds and runs every test, optimised and under sanitizers'
	@echo 'make lint     clang-format, clang-tidy, cppcheck and the lints of the house'
	@echo 'make fuzz     runs the fuzz targets, SECONDS_EACH=60 seconds each'
	@echo 'make bench    measures weir beside nginx and haproxy; orders and queues beside redis and others'
	@echo 'make soak     the ledger killed 500 times and simulated; half an hour of load with faults'
	@echo 'make install  installs weir (DESTDIR and meson options are respected)'
	@echo 'make clean    removes what was built'
	@echo
	@echo 'Each installs the packages that it needs and says which; WEIR_DEPS=skip leaves packages alone.'
	@echo 'JOBS=2 bounds how many compilers run at a time.'
