# What `make install` and `make dist` leave.
share=$PREFIX/share
check "a man page of the program" grep -q 'TH "T2T" 1' "$share/man/man1/t2t.1"
check "a man page of a measurement" grep -q 'peak_gflops' "$share/man/man1/t2t-bench-step.1"
check "completion that bash reads" bash -c 'source "$1" && complete -p t2t' - "$share/bash-completion/completions/t2t"
check "the schema of configurations" grep -q '"warmup_epochs"' "$share/t2t/config.schema.json"
if command -v python3 >/dev/null; then
    expect 2 "usage" pth2safetensors
else
    skip "pth2safetensors: python3 is not installed"
fi
check "no name of the checkout in the scripts" bash -c '! grep -rl "$CHECKOUT" "$PREFIX/share"'

# The tarball builds where git knows nothing of it.
archive=$(make -s -C "$CHECKOUT" --no-print-directory dist)
check "make dist" tar -xzf "$CHECKOUT/$archive"
cd t2t-*/ || return
check "the tarball has no repository" test ! -e .git
LIMIT=600 expect 0 "" make -j"$(nproc)" all
version=$(basename "$archive" .tar.gz)
expect 0 "t2t ${version#t2t-}" build/t2t --version
expect 0 "" make install PREFIX="$PWD/prefix"
expect 0 "layers" prefix/bin/t2t help info
check "the same job scripts" diff -r "$share/t2t/jobs" prefix/share/t2t/jobs
