"""The words of the tasks in `tasks.py`: instructions, examples, angles. Examples are ours and on true facts."""

from __future__ import annotations

_WRITE = (
    "From the query alone, write a short text of 40 to 75 words that holds what such a passage would say: the "
    "entities, facts, dates, numbers and terms that it would name. Be concrete rather than cautious; where you are "
    "unsure, write what is most likely. Answer in the language of the query, with the text only: no heading, no "
    "comment."
)

EVIDENCE = (
    "Behind the query stand passages that a first search found, each with a number. Some may be off the point. Use "
    "what helps, and go on to what is still missing."
)

ANGLES = (
    "Write it as the passage itself, as it could stand in a reference work.",
    "Reason step by step about what has to be found, and name at each step the entities and terms that would show it.",
    "Follow another hypothesis than the one that comes to mind first: another reading of the query, cause or aspect.",
)

TASKS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "question-answering": (
        f"You help a search engine to find passages that answer a question. {_WRITE}",
        (
            (
                "why do leaves change colour in autumn",
                "As days shorten and nights grow cool, deciduous trees stop making chlorophyll, and the green pigment "
                "in their leaves breaks down. Yellow and orange carotenoids, present all along, become visible, while "
                "sugars trapped in the leaf form red anthocyanins on sunny days. A corky abscission layer at the base "
                "of the stalk finally cuts the leaf off.",
            ),
            (
                "who built the first electric telegraph line in britain",
                "William Fothergill Cooke and Charles Wheatstone patented a needle telegraph in 1837 and tried it that "
                "year between Euston and Camden Town on the London and Birmingham Railway. The first line in lasting "
                "use followed in 1839 along the Great Western Railway from Paddington to West Drayton, with five "
                "needles that pointed to letters on a board.",
            ),
        ),
    ),
    "claim-verification": (
        "You help a search engine to find passages that support or refute a claim. The query is the claim. Say what "
        f"the evidence on either side would report. {_WRITE}",
        (
            (
                "The Great Wall of China can be seen from the Moon with the naked eye.",
                "The claim is refuted by astronauts and by optics. The Great Wall is only a few metres wide and has "
                "much the colour of the land around it, so from the Moon, about 384,000 kilometres away, the eye "
                "cannot resolve it. Even in low Earth orbit it is hard to make out: Yang Liwei reported in 2003 that "
                "he had not seen it.",
            ),
            (
                "A lack of vitamin C causes scurvy.",
                "Scurvy is caused by a lack of vitamin C, ascorbic acid, which the body needs to make collagen. Signs "
                "are tiredness, bleeding gums, loose teeth and wounds that heal badly. In 1747 the naval surgeon James "
                "Lind gave oranges and lemons to sailors with scurvy aboard HMS Salisbury, and they recovered best, "
                "which supports the claim.",
            ),
        ),
    ),
    "scientific-search": (
        "You help a search engine to find scientific papers. The query is a topic or a question of research. Write as "
        f"an abstract would: subject, method, findings, technical terms. {_WRITE}",
        (
            (
                "lipid nanoparticles for mRNA vaccine delivery",
                "Lipid nanoparticles deliver messenger RNA into cells: an ionizable lipid binds the RNA at low pH and "
                "promotes its escape from the endosome, while phospholipid, cholesterol and a PEG lipid stabilise the "
                "particle. N1-methylpseudouridine in place of uridine lowers innate immune sensing. BNT162b2 and "
                "mRNA-1273 encode the SARS-CoV-2 spike protein, held in its prefusion form by two prolines.",
            ),
            (
                "first detection of gravitational waves from merging black holes",
                "GW150914, observed on 14 September 2015 by the Advanced LIGO interferometers in Hanford and "
                "Livingston, was the first direct detection of gravitational waves. The chirp agrees with numerical "
                "relativity for the merger of two black holes of about 36 and 29 solar masses, of which three were "
                "radiated away. Matched filtering with template waveforms separated the signal from noise.",
            ),
        ),
    ),
    "finance": (
        "You help a search engine to find passages about money: investing, companies, banking, taxes. Name the "
        f"instruments, ratios, rules and amounts that an expert's answer would. {_WRITE}",
        (
            (
                "how does a rise in interest rates affect bond prices",
                "Bond prices move against interest rates: when market yields rise, the fixed coupons of existing bonds "
                "are worth less, so prices fall until the yield to maturity matches. Duration measures how much: with "
                "a modified duration of seven, a bond loses about seven per cent when yields rise by one percentage "
                "point. Long maturities and low coupons suffer most.",
            ),
            (
                "can i deduct losses on shares from my us income tax",
                "In the United States capital losses on shares first offset capital gains; up to 3,000 dollars of a "
                "remaining net loss reduce ordinary income each year, and the rest carries forward. They are reported "
                "on Form 8949 and Schedule D. The wash sale rule disallows a loss if a substantially identical "
                "security is bought within 30 days before or after the sale.",
            ),
        ),
    ),
    "code-search": (
        "You help a search engine to find code and its documentation. Name the functions, classes, arguments and "
        f"libraries that a solution would use, with short calls where they help. {_WRITE}",
        (
            (
                "read a large csv file in chunks with pandas",
                "pandas.read_csv takes the argument chunksize and then returns an iterator of DataFrame objects "
                "instead of one frame: for chunk in pd.read_csv(path, chunksize=100_000). Each chunk is filtered or "
                "aggregated, and pd.concat joins the parts, so that memory stays small. The arguments usecols and "
                "dtype reduce it further, and nrows reads only the first lines.",
            ),
            (
                "find the most frequent element of a list in python",
                "collections.Counter counts hashable items: Counter(items).most_common(1)[0][0] gives the most "
                "frequent element in linear time. statistics.mode does the same and returns the first of several "
                "equally frequent values, statistics.multimode returns all of them. max(set(items), key=items.count) "
                "is short but scans the whole list for every distinct element.",
            ),
        ),
    ),
}
