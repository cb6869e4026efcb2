"""A small book with the machinery of the real one, for tests of the build."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
MACHINERY = ("_ext", "_config.yml", "requirements.txt")
MACHINERY += ("book/images", "book/references.bib", "book/_static")
# What the console script does, which has another name and place on each system.
COMMAND = [sys.executable, "-P", "-c", "from jupyter_book.cli.main import main; main()"]
CONTENTS = """
format: jb-book
root: book/index
parts:
  - {{caption: Chapters, numbered: true, chapters: [{chapters}]}}
  - {{caption: Back matter, chapters: [file: book/words]}}
"""
HEADER = "---\nfile_format: mystnb\nkernelspec: {name: python3}\n---\n\n"
# Stands in for the real package. Pages use it to say that they ran, and to wait for each other.
PACKAGE = '''
"""A package that is not the book's."""

import os
import time
from pathlib import Path

FOLDER = Path(os.environ["GN_TEST_FOLDER"])


def ran(page):
    """Note that a page ran."""
    with open(FOLDER / "ran", "a", encoding="utf8") as log:
        log.write(page + "\\n")


def meet(page, other):
    """Wait until the other page runs too."""
    (FOLDER / page).touch()
    for _ in range(1800):
        if (FOLDER / other).exists():
            return
        time.sleep(0.1)
    raise TimeoutError(f"{page} never met {other}")


def square(x):
    """Multiply a number by itself."""
    return x * x  # once
'''
WORDS = """
# Words

No code here. See {doc}`index`.

```{eval-rst}
.. automodule:: gradnotes
   :members:
```

```{bibliography}
```
"""
DOT = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c63600000000200015ddcccdc0000000049454e44ae426082"
)
PICTURE = """
from IPython.display import SVG

SVG('<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0 9 9"/></svg>')
"""
ALPHA = rf"""
# Alpha

(sec-here)=
## First words

:::{{admonition}} Goals
:class: tip

Read {{eq}}`eq-sum`, {{prf:ref}}`thm-sum`, {{numref}}`fig-line` and {{ref}}`sec-here` here, and
{{doc}}`beta`, {{ref}}`its second part <sec-there>`, {{prf:ref}}`thm-there`, {{eq}}`eq-there`,
{{doc}}`words` and {{py:func}}`gradnotes.square` elsewhere.
:::

The rest is in {{cite:t}}`lerner`, and in [the manual](https://docs.python.org/3/).

```{{code-cell}} python
import gradnotes

gradnotes.ran("alpha")
gradnotes.square(3)
```

```{{code-cell}} python
:tags: [remove-cell]
from myst_nb import glue

glue("square", gradnotes.square(41.5), display=False)
glue("colours", "red and blue", display=False)
```

The square is {{glue:text}}`square:.1f`, the colours are {{glue:text}}`colours`.

$$
\sum_{{i=1}}^n i = \frac{{n (n + 1)}}{{2}}
$$ (eq-sum)

```{{prf:theorem}} The sum of $n$ squares
:label: thm-sum

For $n \ge 1$

$$
\sum_{{i=1}}^n i^2 = \frac{{n (n + 1) (2n + 1)}}{{6}} .
$$
```

```{{prf:example}} One number
For $n = 1$ it is 1.
```

:::{{dropdown}} Proof
By induction, $n \to n + 1$:

1. one term more
   - on the left

     $$
     (n + 1)^2
     $$

   - on the right
2. the same sum
:::

| $n$ | word                    |
|:----|:------------------------|
| 1   | {{glue:text}}`colours` |

```{{literalinclude}} ../gradnotes/__init__.py
:language: python
:pyobject: square
```

```{{code-cell}} python
:tags: [hide-input]
hidden = 1
```

```{{code-cell}} python
---
tags: [remove-input]
mystnb:
  figure: {{name: fig-line, caption: "A line, see {{eq}}`eq-sum`."}}
  image: {{alt: A thin line that falls.}}
---
{PICTURE.strip()}
```

![A cone over a line](images/logo.svg) ![A single dot](images/dot.png)

```{{exercise}} Sum up
:label: ex-sum

How large is $1 + 2 + 3$?

:::{{dropdown}} Hint
Use {{eq}}`eq-sum`.
:::
```

```{{solution}} ex-sum
:class: dropdown

The answer is SECRET-SIX.
```

## Last words

As in {{prf:ref}}`thm-sum`, `x * y` and `{{a: 1}}`, at the end.
"""
BETA = rf"""
# Beta

A first sentence.

```{{code-cell}} python
import gradnotes

gradnotes.ran("beta")
gradnotes.meet("beta", "gamma")
```

(sec-there)=
## Second part

```{{prf:lemma}} There
:label: thm-there

$$
1 + 1 = 2
$$ (eq-there)
```

```{{code-cell}} python
---
mystnb: {{image: {{alt: A thin line.}}}}
---
{PICTURE.strip()}
```
"""
GAMMA = """
# Gamma

```{code-cell} python
import gradnotes

gradnotes.ran("gamma")
gradnotes.meet("gamma", "beta")
```

```{code-cell} python
print("one more than nine is", gradnotes.square(3) + 1)
```
"""


class Book:
    """A book in a folder of its own, whose builds say how they ended and which pages ran."""

    def __init__(self, folder, pages):
        self.root = Path(folder)
        self.html = self.root / "_build" / "html"
        for name in MACHINERY:
            source, target = ROOT / name, self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
        self.write("gradnotes/__init__.py", PACKAGE)
        (self.root / "book" / "images" / "dot.png").write_bytes(DOT)
        # What the real front page has: a picture, whose copy the README shows.
        self.write("gradnotes/plots.py", '"""Nothing."""\n')
        self.write("book/index.md", "# A small book\n\n![A cone over a line](images/logo.svg)\n")
        self.write("book/words.md", WORDS)
        for name, text in pages.items():
            self.write(f"book/{name}.md", HEADER + text)
        chapters = ", ".join(f"{{file: book/{name}}}" for name in pages)
        self.write("_toc.yml", CONTENTS.format(chapters=chapters))

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf8", newline="\n")

    def read(self, name):
        return (self.root / name).read_text(encoding="utf8")

    def page(self, name):
        """The built page."""
        return (self.html / "book" / f"{name}.html").read_text(encoding="utf8")

    def notebook(self, name):
        """Where the notebook of a page is."""
        return self.html / "_notebooks" / f"{name}.ipynb"

    def command(self, *arguments, student=""):
        surroundings = {"PYTHONPATH": str(self.root), "GN_TEST_FOLDER": str(self.root)}
        surroundings["GRADNOTES_STUDENT"] = student
        return subprocess.run(
            arguments,
            cwd=self.root,
            env={**os.environ, **surroundings, "PYTHONIOENCODING": "utf8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf8",
            timeout=900,
        )

    def build(self, *options, student=""):
        self.write("ran", "")
        done = self.command(*COMMAND, "build", ".", *options, student=student)
        output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout).replace("\\", "/")
        ran = sorted(self.read("ran").split())
        return SimpleNamespace(failed=done.returncode != 0, output=output, ran=ran)

    @contextlib.contextmanager
    def changed(self, name, *pairs):
        """Replace texts, each of which occurs once, until the end of the block."""
        before = text = self.read(name)
        for old, new in pairs:
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new)
        self.write(name, text)
        yield
        self.write(name, before)
