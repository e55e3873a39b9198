# packages.sh - the Debian and Ubuntu packages that hone needs, in one place; sourced by
# ./quickstart and ./check.
#
#     packages_need WHY LIST     installs what is missing of LIST, after saying what and why
#
# Only what is missing is installed.  As root directly, else through sudo; with neither, the
# command to type is printed.  On a system without dpkg nothing is installed: CMake then says
# what it does not find.

packages_build="gcc libc6-dev cmake ninja-build pkg-config libinih-dev libjansson-dev
	libutf8proc-dev libpcre2-dev libxxhash-dev"
packages_test="libcmocka-dev g++ clang clang-format llvm binutils make python3"
packages_example="wordnet-base python3 python3-pip"
packages_full="clang-tidy valgrind libc6-dbg"

packages_missing() {
	local package
	for package in "$@"; do
		dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' ||
			echo "$package"
	done
}

# Runs a command as root.  Without a terminal sudo must not wait for a password.
packages_as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif [ -t 0 ]; then
		sudo "$@"
	else
		sudo -n "$@"
	fi
}

packages_apt() {
	packages_as_root env DEBIAN_FRONTEND=noninteractive apt-get --yes -qq \
		-o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@" </dev/null
}

packages_need() {
	local why=$1 missing
	shift
	if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
		echo "packages $why: no apt-get here, these are taken to be installed:" $*
		return 0
	fi
	missing=$(packages_missing $* | sort -u | tr '\n' ' ')
	if [ -z "$missing" ]; then
		echo "packages $why: all there"
		return 0
	fi
	echo "packages $why, to be installed: $missing"
	if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
		echo "error: neither root nor sudo; type as root: apt-get install $missing" >&2
		return 1
	fi
	# The lists are fetched only when the packages cannot be had with those that are here.
	packages_apt install --no-install-recommends $missing >/dev/null 2>&1 && return 0
	packages_apt update && packages_apt install --no-install-recommends $missing && return 0
	echo "error: could not install $missing(the reason is above)" >&2
	return 1
}

# Clang's sanitizers are a package of their own, named after clang's version, in some releases
# and part of clang in others: asked of the compiler.
packages_need_sanitizers() {
	local major
	echo 'int main(void) { return 0; }' |
		clang -xc -fsanitize=address - -o /dev/null 2>/dev/null && return 0
	major=$(clang -dumpversion | cut -d. -f1)
	packages_need "of clang's sanitizers" "libclang-rt-$major-dev"
}
