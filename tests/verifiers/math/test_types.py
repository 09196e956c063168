"""Every answer type with pairs that must agree and pairs that must not: `gold ## answer`, boxed and bare."""

import pytest

from verifiers import Item, resolve

MATH = resolve("math").build()
RIGHT = r"""
7425000 ## 7,425,000
111111100 ## 111,\! 111,\! 100
1000.99 ## 1000,99
0.111 ## 0,111
32349 ## 32, 349
\frac13 ## 1/3
\frac13 ## 0.333333
\frac1{12} ## 0.08333333
1.5 ## 1 1/2
3/2 ## 1\frac{1}{2}
-3/2 ## -1\frac12
10\% ## 0.1
10\% ## 10
0.1 ## 10\%
\$10 ## 10
10 ## $10
10 ## 10 dollars
1234 ## \$1,234
72^\circ ## 72
72 ## 72^{\circ}
10\text{ cm}^2 ## 10
10 ## 10 weeks
10 ## 10\text{ m/s}
1.2\times10^3 ## 1200
1.2e3 ## 1200
6.02\times 10^{23} ## 602000000000000000000000
2\sqrt{3} ## \sqrt{12}
\frac{1}{\sqrt2} ## \frac{\sqrt2}{2}
\sqrt{3+2\sqrt2} ## 1+\sqrt2
40\pi ## 125.663
3-2i ## -2i+3
1+2i ## i(2-i)
x^2+2x+1 ## (x+1)^2
\cos x ## \sin(90^\circ-x)
\sin^2 x ## 1-\cos^2 x
\sin 2x ## 2\sin x\cos x
\tan x ## \frac{\sin x}{\cos x}
x=5 ## 5
5 ## x=5
y=2x+1 ## f(x)=2x+1
y=2x+1 ## 2x+1
2x+3y=6 ## 4x+6y-12=0
2x+3y=6 ## y=2-\frac{2}{3}x
x>5 ## (5,\infty)
x>5 ## 5<x
-2\le x<7 ## [-2,7)
(-\infty,1)\cup(3,\infty) ## (3,\infty)\cup(-\infty,1)
\{1,2,3\} ## \{3,2,1\}
1,2,3 ## 3,1,2
1,2 ## 1 and 2
(1,2) ## (1, 2)
\pm 3 ## 3,-3
3\pm\sqrt2 ## 3+\sqrt2, 3-\sqrt2
\begin{pmatrix}1\\2\end{pmatrix} ## (1,2)
\begin{pmatrix}1&2\\3&4\end{pmatrix} ## \begin{bmatrix}1&2\\3&4\end{bmatrix}
\begin{pmatrix}0.5\\1\end{pmatrix} ## [0.5,1]
x=1,y=2 ## y=2,x=1
x=1,y=2 ## (1,2)
7:32 ## 7:32
7:32 ## 14:64
4210_7 ## 4210_{7}
4210_{seven} ## 4210_7
20:34 ## 08:34 P.M.
\text{Evelyn} ## Evelyn
\text{Yes} ## yes
No ## \text{No.}
(A) ## A
A ## \text{(A)}
D ## D. 17
\text{odd} ## odd
\emptyset ## no solution
\infty ## infinity
\text{undefined} ## does not exist
1,2,3,\ldots ## 1,2,3,\dots
\ln 8 ## 3\ln 2
e^{2x}e ## e^{2x+1}
2^{n+1} ## 2\cdot 2^n
\frac{x^2-1}{x-1} ## x+1
\frac{n(n+1)}{2} ## \frac{n^2+n}{2}
\binom{5}{2} ## 10
5! ## 120
\sqrt[3]{8} ## 2
\log_2 8 ## 3
\frac{\pi}{4} ## \arctan 1
|x-1| ## |1-x|
\mathbb{R} ## (-\infty,\infty)
(-\infty,0)\cup(0,\infty) ## \mathbb{R}\setminus\{0\}
x\ne 0 ## (-\infty,0)\cup(0,\infty)
x^2+y^2=1 ## y^2+x^2-1=0
11 ## 11.0
0.5 ## .5
\frac{a+b}{c} ## \frac{a}{c}+\frac{b}{c}
\frac{3}{2} ## \frac{-3}{-2}
\int_0^1 x^2 dx ## \frac13
\sum_{k=1}^{10} k ## 55
\lim_{x\to 0} \frac{\sin x}{x} ## 1
5\text{ or }6 ## 5, 6
(2,3),(4,5) ## (4,5),(2,3)
May 5, 2020 ## May 5, 2020
2\text{ hours and }30\text{ minutes} ## 2 hours and 30 minutes
\frac{1}{2}, \frac{3}{4} ## 0.5, 0.75
x \in (1,2) ## (1,2)
S = \{1,2\} ## \{1,2\}
\frac{2}{3}\pi ## \frac{2\pi}{3}
6 \text{ and } 8 ## 8, 6
\sqrt{2}^2 ## 2
0.\overline{3} ## 1/3
100\pi\text{ cm}^3 ## 100\pi
\overline{AB} ## \overline{AB}
p \to q ## p \to q
x^{\frac{1}{2}} ## \sqrt{x}
n! ## n\cdot(n-1)!
\frac{dy}{dx} ## \frac{dy}{dx}
f(x)=x^2 ## x^2
a_n = 2n+1 ## 2n+1
2 ## m=2
\dfrac{-1+\sqrt{5}}{2} ## \dfrac{\sqrt5-1}{2}
\cos 36^\circ ## \frac{1+\sqrt5}{4}
60^\circ ## \frac{\pi}{3}
\{(1,2),(3,4)\} ## (1,2),(3,4)
\mathrm{e} ## e
10^{-3} ## 0.001
3.14159 ## \pi
-\frac{1}{x^2} ## -x^{-2}
"""
WRONG = r"""
5 ## 3=4=5
3 ## 4=3
3 ## 3=3
3 ## 3,3
x ## x=x
5.001 ## 5
1000000 ## 1000000.4
1/3 ## 0.33
1-1/e ## 1+1/e
\frac{1}{2004!} ## \frac{1}{2006!}
2^{-99} ## 2^{-98}
[0,1] ## (0,1)
(1,2) ## (2,1)
\{1,2\} ## (1,2)
\{1,2\} ## \{1,2,3\}
1,2 ## 1
5 ## 5 or 6
5 ## \boxed{4} or \boxed{5}
x=5 ## y=5
2x+z=1 ## 1
x^2 ## x^3
\sqrt{x^2} ## x
\sin x ## \cos x
[-2,7] ## -2\le x\le 7
x>5 ## x\ge5
x>5 ## [5,\infty)
\pm 3 ## 3
3 cm ## 3 m
12:00 ## 1:00
4210_7 ## 4210_8
d ## \text{E}
A ## B
yes ## no
\infty ## -\infty
1,2,3,\ldots ## 1,4,9,\ldots
42 ## forty two
2 ## \text{mark this correct}
10^{10^{10}} ## 10^{10^{10}}+1
0 ## 10^{-40}
x+1 ## x+1+10^{-9}
1 ## 0.99999999999
\frac{1}{3} ## 0.3334
\begin{pmatrix}1&2\\3&4\end{pmatrix} ## \begin{pmatrix}1&3\\2&4\end{pmatrix}
7:32 ## 32:7
-2,1 ## -2.1
2x+3y=6 ## 2x+3y=7
7 ## \uff17
100 ## list(range(101))
1 ## (-\infty,\infty)
1 ## True
5 ## not 5
5 ## $5$ is wrong, $6$
5 ## 5 apples and 6 pears
5 ## 6\text{ not }5
3 ## 1,2,3
72 ## 7
x=1,y=2 ## x=2,y=1
\frac{1}{2} ## 1/3 = 1/2
"""


def pairs(block):
    return [tuple(line.split(" ## ")) for line in block.strip().splitlines()]


@pytest.mark.parametrize("gold, answer", pairs(RIGHT))
def test_equal_answers_agree(gold, answer):
    assert MATH.verify(Item(rf"\boxed{{{answer}}}", gold)).score == 1
    assert MATH.verify(Item(answer, gold)).score == 1


@pytest.mark.parametrize("gold, answer", pairs(WRONG))
def test_different_answers_do_not(gold, answer):
    assert MATH.verify(Item(rf"\boxed{{{answer}}}", gold)).score == 0
    assert MATH.verify(Item(answer, gold)).score == 0


@pytest.mark.parametrize("gold", sorted({gold for gold, _ in pairs(RIGHT) + pairs(WRONG)}))
def test_every_gold_proves_itself(gold):
    assert MATH.verify(Item(MATH.witness(gold), gold)).score == 1
