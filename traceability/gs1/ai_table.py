"""Step 4 of 9: every GS1 application identifier (AI), as data: its form, what it needs and what it rules out.

The table is text in a notation of our own and is read when it is first asked for: naming what events name
does without it, and so does a server's start. A line holds

    AIs   flags   form   rules   = title

AIs    37, or 3100-3105, or 710-716: each of them has this line
flags  f  its length is known in advance, so no separator follows it
       q  it may stand in the query of a Digital Link
       1  at most one AI of those that share its first three digits
       -  none of these
form   parts in order, joined by commas; 4* is the same part four times. n digits, x set 82, y set 39,
       z set 64; a length, or shortest-longest; ? if the part may be missing; then the checks that its content
       must pass, each behind a dot
rules  +a/b    one of these must be there as well; a&b are both
       !a/b    none of these may be there; 31nn stands for every AI of four digits that begins with 31
       path    a primary key of Digital Links; :22>10>21|235 are the qualifiers that may follow, in this order

Source: GS1 General Specifications, sections 3 and 4.13, and GS1's barcode syntax dictionary for the facts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

AI_LENGTH_MIN, AI_LENGTH_MAX = 2, 4

_TABLE = """
00          fq    n18.digit.owner1             path                          = SSCC
01          fq    n14.digit.owner1             !255/37 path:22>10>21|235     = GTIN
02          fq    n14.digit.owner1             !01/03 +37                    = GTIN of contained items
03          f     n14.digit.owner1             !01/02/37                     = GTIN of a made-to-order item
10          q     x1-20                        +01/02/03/8006/8026           = batch or lot
11          fq    n6.day0                      +01/02/03/8006/8026           = production date
12          fq    n6.day0                      +8020                         = due date
13          fq    n6.day0                      +01/02/03/8006/8026           = packaging date
15          fq    n6.day0                      +01/02/03/8006/8026           = best before date
16          fq    n6.day0                      +01/02/03/8006/8026           = sell by date
17          fq    n6.day0                      +01/02/03/255/8006/8026       = expiry date
20          fq    n2                           +01/02/8006/8026              = internal variant
21          -     x1-20                        +01/03/8006 !235              = serial number
22          -     x1-20                        +01                           = consumer product variant
235         -     x1-28                        +01                           = third-party serial
240         q     x1-30                        +01/02/8006/8026              = additional product number
241         q     x1-30                        +01/02/8006/8026              = customer part number
242         q     n1-6                         +01/02/8006/8026              = made-to-order variation
243         q     x1-20                        +01                           = packaging component
250         q     x1-30                        +01/8006 +21                  = secondary serial
251         q     x1-30                        +01/8006                      = source entity
253         q     n13.digit.owner,x1-17?       path                          = GDTI
254         -     x1-20                        +414                          = GLN extension
255         q     n13.digit.owner,n1-12?       path !01/02/415/8006/8020/8026 = GCN
30          q     n1-8                         +01/02                        = variable count
3100-3105   fq1   n6   +01/02   = net weight, kg
3110-3115   fq1   n6   +01/02   = length, m
3120-3125   fq1   n6   +01/02   = width, m
3130-3135   fq1   n6   +01/02   = height, m
3140-3145   fq1   n6   +01/02   = area, m2
3150-3155   fq1   n6   +01/02   = net volume, l
3160-3165   fq1   n6   +01/02   = net volume, m3
3200-3205   fq1   n6   +01/02   = net weight, lb
3210-3215   fq1   n6   +01/02   = length, in
3220-3225   fq1   n6   +01/02   = length, ft
3230-3235   fq1   n6   +01/02   = length, yd
3240-3245   fq1   n6   +01/02   = width, in
3250-3255   fq1   n6   +01/02   = width, ft
3260-3265   fq1   n6   +01/02   = width, yd
3270-3275   fq1   n6   +01/02   = height, in
3280-3285   fq1   n6   +01/02   = height, ft
3290-3295   fq1   n6   +01/02   = height, yd
3300-3305   fq1   n6   +00/01   = logistic weight, kg
3310-3315   fq1   n6   +00/01   = logistic length, m
3320-3325   fq1   n6   +00/01   = logistic width, m
3330-3335   fq1   n6   +00/01   = logistic height, m
3340-3345   fq1   n6   +00/01   = logistic area, m2
3350-3355   fq1   n6   +00/01   = logistic volume, l
3360-3365   fq1   n6   +00/01   = logistic volume, m3
3370-3375   fq1   n6   +01      = kg per m2
3400-3405   fq1   n6   +00/01   = logistic weight, lb
3410-3415   fq1   n6   +00/01   = logistic length, in
3420-3425   fq1   n6   +00/01   = logistic length, ft
3430-3435   fq1   n6   +00/01   = logistic length, yd
3440-3445   fq1   n6   +00/01   = logistic width, in
3450-3455   fq1   n6   +00/01   = logistic width, ft
3460-3465   fq1   n6   +00/01   = logistic width, yd
3470-3475   fq1   n6   +00/01   = logistic height, in
3480-3485   fq1   n6   +00/01   = logistic height, ft
3490-3495   fq1   n6   +00/01   = logistic height, yd
3500-3505   fq1   n6   +01/02   = area, in2
3510-3515   fq1   n6   +01/02   = area, ft2
3520-3525   fq1   n6   +01/02   = area, yd2
3530-3535   fq1   n6   +00/01   = logistic area, in2
3540-3545   fq1   n6   +00/01   = logistic area, ft2
3550-3555   fq1   n6   +00/01   = logistic area, yd2
3560-3565   fq1   n6   +01/02   = net weight, troy oz
3570-3575   fq1   n6   +01/02   = net volume, oz
3600-3605   fq1   n6   +01/02   = net volume, qt
3610-3615   fq1   n6   +01/02   = net volume, gal
3620-3625   fq1   n6   +00/01   = logistic volume, qt
3630-3635   fq1   n6   +00/01   = logistic volume, gal
3640-3645   fq1   n6   +01/02   = net volume, in3
3650-3655   fq1   n6   +01/02   = net volume, ft3
3660-3665   fq1   n6   +01/02   = net volume, yd3
3670-3675   fq1   n6   +00/01   = logistic volume, in3
3680-3685   fq1   n6   +00/01   = logistic volume, ft3
3690-3695   fq1   n6   +00/01   = logistic volume, yd3
37          q     n1-8                         +00 +02/8026                  = count of contained items
3900-3909   q1    n1-15                        +255/8020 !391n/394n/8111     = amount payable or coupon value
3910-3919   q1    n3.currency,n1-15            +8020                         = amount payable with currency
3920-3929   q1    n1-15                 +01 +30/31nn/32nn/35nn/36nn !393n    = price
3930-3939   q1    n3.currency,n1-15     +30/31nn/32nn/35nn/36nn              = price with currency
3940-3943   q1    n4                           +255 !8111                    = discount of a coupon, %
3950-3955   q1    n6        +30/31nn/32nn/35nn/36nn !392n/393n/8005          = price per unit of measure
400         q     x1-30                                                      = customer's order number
401         q     x1-30.owner                  path                          = GINC
402         q     n17.digit.owner              path                          = GSIN
403         q     x1-30                        +00                           = routing code
410         fq    n13.digit.owner                                            = ship to GLN
411         fq    n13.digit.owner                                            = bill to GLN
412         fq    n13.digit.owner                                            = purchased from GLN
413         fq    n13.digit.owner                                            = ship for GLN
414         fq    n13.digit.owner              path:254|7040                 = GLN
415         fq    n13.digit.owner              +8020 path:8020               = GLN of the invoicing party
416         fq    n13.digit.owner                                            = GLN of production or service
417         fq    n13.digit.owner              path:7040                     = party GLN
420         q     x1-20                        !421                         = ship to postal code
421         q     n3.country,x1-9              !4307                        = ship to postal code with country
422         q     n3.country                   +01/02/8006/8026 !426        = country of origin
423         q     n3.country,4*n3?.country     +01/02 !426                  = countries of first processing
424         q     n3.country                   +01/02 !426                  = country of processing
425         q     n3.country,4*n3?.country     +01/02 !426                  = countries of disassembly
426         q     n3.country                   +01/02                       = country of all processing
427         q     x1-3                         +01/02 +422                  = subdivision of origin
4300-4301   q     x1-35.escaped                +00                          = ship to company or contact
4302        q     x1-70.escaped                +00                          = ship to address line 1
4303        q     x1-70.escaped                +4302                        = ship to address line 2
4304-4306   q     x1-70.escaped                +00                          = ship to suburb to region
4307        q     x2.country2                  +00                          = ship to country
4308        q     x1-30                        +00                          = ship to telephone
4309        q     n10.latitude,n10.longitude   +00                          = ship to position
4310-4311   q     x1-35.escaped                +00                          = return to company or contact
4312        q     x1-70.escaped                +00                          = return to address line 1
4313        q     x1-70.escaped                +4312                        = return to address line 2
4314-4316   q     x1-70.escaped                +00                          = return to suburb to region
4317        q     x2.country2                  +00                          = return to country
4318        q     x1-20                        +00                          = return to postal code
4319        q     x1-30                        +00                          = return to telephone
4320        q     x1-35.escaped                +00                          = service description
4321-4323   q     n1.yesno                     +00                          = yes or no about delivery
4324-4325   q     n6.day0,n4.minute            +00                          = deliver not before or not after
4326        q     n6.day                       +00                          = release date
4330        q     n6,x1?.minus                 +00 !4331                    = highest temperature, F
4331        q     n6,x1?.minus                 +00 !4330                    = highest temperature, C
4332        q     n6,x1?.minus                 +00 !4333                    = lowest temperature, F
4333        q     n6,x1?.minus                 +00 !4332                    = lowest temperature, C
7001        q     n13                          +01/02/8006/8026             = NATO stock number
7002        q     x1-30                        +01/02                       = meat cut
7003        q     n6.day,n4.minute             +01/02                       = expiry date and time
7004        q     n1-4                         +01 +10                      = active potency
7005        q     x1-12                        +01/02                       = catch area
7006        q     n6.day                       +01/02                       = first freeze date
7007        q     n6.day,n6?.day               +01/02                       = harvest date
7008        q     x1-3                         +01/02                       = aquatic species
7009        q     x1-10                        +01/02                       = fishing gear
7010        q     x1-2                         +01/02                       = production method
7011        q     n6.day,n4?.minute            +01/02                       = test by date
7020        q     x1-20                        +01/8006 +416                = refurbishment lot
7021        q     x1-20                        +01/8006                     = functional status
7022        q     x1-20                        +7021                        = revision status
7023        q     x1-30.owner                                               = GIAI of an assembly
7030-7039   q     n3.country999,x1-27          +01/02                       = processor
7040        -     n1,x1,x1,x1.importer                                      = UIC with extension
7041        -     x1-4.package                 +00                          = freight unit type
710-716     q     x1-20                        +01                          = national healthcare number
7230-7239   q     x2,x1-28                     +01/8004                     = certification
7240        q     x1-20                        +01/8006                     = protocol
7241        q     n2.medium                    +8017/8018                   = AIDC media type
7242        q     x1-25                        +8017/8018                   = version control number
7250        q     n8.date                      +8018 !7251                  = date of birth
7251        q     n8.date,n4.minute            +8018 !7250                  = date and time of birth
7252        q     n1.sex                       +8018                        = biological sex
7253-7254   q     x1-40.escaped                +8017/8018 !7256/7259        = family or given name
7255        q     x1-10                        +8017/8018 !7256/7259        = suffix of a name
7256        q     x1-90.escaped                +8017/8018                   = full name
7257        q     x1-70.escaped                +8018                        = person's address
7258        q     x3.sequence                  +8018&7259                   = birth sequence
7259        q     x1-40.escaped                +8018 !7256                  = baby of this family name
8001 q n4.positive,n5.positive,n3.positive,n1.winding,n1 +01 = dimensions of a roll
8002        q     x1-20                                                     = mobile telephone
8003        q     n1.zero,n13.digit.owner,x1-16? path                         = GRAI
8004        q     x1-30.owner                  path:7040                    = GIAI
8005        q     n6                           +01/02                       = price per unit
8006        q     n14.digit.owner1,n4.piece    !01/37 path:22>10>21         = ITIP
8007        q     x1-34.iban                   +415                         = IBAN
8008        q     n6.day,n2.hour,n2?.sixty,n2?.sixty +01/02                       = production date and time
8009        q     x1-50                        +00/01                       = optical sensor
8010        q     y1-30.owner                  path:8011                    = CPID
8011        -     n1-12.noleadingzero          +8010                        = CPID serial
8012        q     x1-20                        +01/8006                     = software version
8013        q     x1-25.pair.owner             path                         = GMN
8014        -     x1-25.pair.owner.nondigit    +01                          = individualised device
8017        q     n18.digit.owner              !8018 path:8019              = GSRN of a provider
8018        q     n18.digit.owner              !8017 path:8019              = GSRN of a recipient
8019        -     n1-10                        +8017/8018                   = service relation instance
8020        -     x1-25                        +415                         = payment reference
8026        q     n14.digit.owner1,n4.piece    +37 !02/8006                 = ITIP of contained pieces
8030 q z1-90 +00/01&21/253/255/8003/8004/8006&21/8010&8011/8017/8018 = digital signature
8110        q     x1-70.coupon                                              = coupon code, North America
8111        q     n4                           +255                         = loyalty points of a coupon
8112        q     x1-70.offer                                               = coupon with an offer file
8200        -     x1-70                        +01                          = product address
90          q     x1-30                                                     = agreed between partners
91-99       q     x1-90                                                     = company internal
"""

# Serialised forms of these keys have something behind their shortest form; a digital signature needs it.
KEYS_WITH_OPTIONAL_SERIAL = ("253", "255", "8003")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a value: its characters, its length and the checks of its content."""

    characters: str  # "n", "x", "y" or "z"
    fewest: int
    most: int
    optional: bool
    checks: tuple[str, ...]  # names in value_checks


@dataclass(frozen=True, slots=True)
class Ai:
    """One application identifier."""

    code: str  # "01", "3103"
    title: str
    parts: tuple[Part, ...]
    fixed: bool  # no separator is needed behind it
    in_query: bool  # it may be an attribute of a Digital Link
    needs: tuple[tuple[tuple[str, ...], ...], ...]  # of each, one group must be there whole
    excludes: tuple[str, ...]  # AIs, or patterns as "31nn"
    paths: tuple[tuple[str, ...], ...] | None  # qualifiers of a primary key; None if it is none

    @property
    def shortest(self) -> int:
        return sum(part.fewest for part in self.parts if not part.optional)

    @property
    def longest(self) -> int:
        return sum(part.most for part in self.parts)


_PART = re.compile(r"(?:([0-9])\*)?([nxyz])([0-9]+)(?:-([0-9]+))?(\?)?((?:\.[a-z0-9]+)*)")


@lru_cache(maxsize=1)
def ai_table() -> dict[str, Ai]:
    """All AIs by their digits. Read once, in about 2 ms."""
    table: dict[str, Ai] = {}
    for line in _TABLE.splitlines():
        if line:
            for ai in _read_line(line):
                table[ai.code] = ai
    return table


@lru_cache(maxsize=1)
def ai_lengths() -> dict[str, int]:
    """How many digits an AI has, by its first two: GS1 gives every two digits one length."""
    return {code[:2]: len(code) for code in ai_table()}


def find_ai(text: str, start: int = 0) -> Ai | None:
    """The AI with which the text goes on at this place, or None."""
    head = text[start : start + AI_LENGTH_MIN]
    length = ai_lengths().get(head)
    return ai_table().get(text[start : start + length]) if length is not None else None


def is_of(code: str, pattern: str) -> bool:
    """Whether this AI is the one named, or one of "31nn"."""
    digits = pattern.rstrip("n")
    return len(code) == len(pattern) and code.startswith(digits)


def _read_line(line: str) -> list[Ai]:
    left, _, title = line.partition(" = ")
    codes, flags, form, *rules = left.split()
    first, _, last = codes.partition("-")
    parts = tuple(part for text in form.split(",") for part in _read_parts(text))
    needs: list[tuple[tuple[str, ...], ...]] = []
    excludes: list[str] = []
    paths: tuple[tuple[str, ...], ...] | None = None
    for rule in rules:
        if rule[0] == "+":
            needs.append(tuple(tuple(group.split("&")) for group in rule[1:].split("/")))
        elif rule[0] == "!":
            excludes += rule[1:].split("/")
        else:
            ways = rule.partition(":")[2]
            paths = tuple(tuple(way.split(">")) for way in ways.split("|")) if ways else ()
    made = []
    for number in range(int(first), int(last or first) + 1):
        code = str(number).zfill(len(first))
        own = (*excludes, code[:3] + "n") if "1" in flags else tuple(excludes)
        made.append(Ai(code, title.strip(), parts, "f" in flags, "q" in flags, tuple(needs), own, paths))
    return made


def _read_parts(text: str) -> list[Part]:
    match = _PART.fullmatch(text)
    assert match is not None, text
    times, characters, fewest, most, optional, checks = match.groups()
    names = tuple(checks[1:].split(".")) if checks else ()
    part = Part(characters, int(fewest), int(most or fewest), optional is not None, names)
    return [part] * int(times or 1)
