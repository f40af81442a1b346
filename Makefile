# The commands that CONTRIBUTING.md, .ci/run and .github/workflows share. Each runs in the Python environment that is active;
# `pip install ".[test,lint]"` is enough for lint and test, ".[book]" brings what the book and the notebooks need, ".[oracles]" the rest.

.PHONY: lint format test oracles interpreted book notebooks bench generated

lint:  ## style, format and types
	ruff check .
	ruff format --check .
	mypy

format:  ## mend what ruff can mend
	ruff check --fix .
	ruff format .

test:  ## README's tests
	pytest

oracles:  ## the same with nothing skipped: every oracle is installed, the data lies in ../shared
	pytest --no-skips

interpreted:  ## the same with the loops as Python runs them; what is compiled in processes of its own, and formats, which compile nothing, have been tested
	NUMBA_DISABLE_JIT=1 pytest --ignore tests/lessons/test_book.py --ignore tests/lessons/test_notebooks.py --ignore-glob "tests/files/test_format_*"

book:  ## into build/book
	sphinx-build -W notebooks/book build/book

notebooks:  ## every notebook runs, as it stands and with its solutions, and says what is stored
	python notebooks/refresh.py --check

bench:  ## some three quarters of an hour on a machine that does nothing else
	for name in networks detectors kernels scaling memory startup report; do python -m benchmarks.$$name || exit 1; done

generated:  ## README's and the ladder's tables, and README's pictures
	python -m benchmarks.readme
	python -m benchmarks.pictures
