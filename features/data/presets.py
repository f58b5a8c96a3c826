"""Published datasets, recognised by the columns of their tables."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dermfuse.features.tables.columns import ONE_HOT_LABEL, Layout


@dataclass(frozen=True)
class Preset:
    """A published layout, recognised by the columns of its table.

    Attributes
    ----------
    layout : Layout
    required : frozenset of str
        Columns that tell the table.
    second : frozenset of str
        Columns that tell the table published beside it; empty where there is none.
    """

    layout: Layout
    required: frozenset[str]
    second: frozenset[str] = frozenset()

    def fitted_to(self, columns: set[str]) -> Layout:
        """The layout with only the optional columns that this table has."""
        keep = {
            role: tuple(c for c in getattr(self.layout, role) if c in columns)
            for role in ("numeric", "categorical", "leaks", "subgroups", "one_hot")
        }
        group = self.layout.group if self.layout.group in columns else None
        return replace(self.layout, group=group, **keep)

    def describe(self) -> str:
        """The preset's name and the columns it is known by."""
        return f"{self.layout.name} (columns {', '.join(sorted(self.required))})"


# Tschandl et al., Lancet Oncology 20, 938-947 (2019), count as malignant melanoma, basal cell carcinoma, and actinic
# keratoses with intraepithelial carcinoma, which HAM10000 keeps in the one class akiec.
_MALIGNANT_HAM = ("mel", "bcc", "akiec")
_BENIGN_HAM = ("nv", "bkl", "df", "vasc")

# Tschandl, Rosendahl, Kittler, Scientific Data 5, 180161 (2018).
HAM10000 = Preset(
    Layout(
        name="HAM10000",
        image="image_id",
        label="dx",
        group="lesion_id",
        group_word="lesions",
        numeric=("age",),
        categorical=("sex", "localization"),
        leaks=("dx_type",),
        preset="ham10000",
        subgroups=("sex", "age", "localization", "dataset"),
        malignant=_MALIGNANT_HAM,
        benign=_BENIGN_HAM,
    ),
    frozenset({"lesion_id", "image_id", "dx"}),
)

_SHARED_CLASSES = ("MEL", "NV", "BCC", "BKL", "DF", "VASC")


def _in_lower_case(classes: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, name.lower()) for name in classes)


# Codella et al., arXiv:1902.03368 (2019): the images of HAM10000, with one column per class.
ISIC_2018 = Preset(
    Layout(
        name="ISIC 2018 task 3",
        image="image",
        label=ONE_HOT_LABEL,
        group="lesion_id",
        group_word="lesions",
        leaks=("diagnosis_confirm_type",),
        preset="isic2018",
        malignant=_MALIGNANT_HAM,
        benign=_BENIGN_HAM,
        label_names=_in_lower_case((*_SHARED_CLASSES, "AKIEC")),
        one_hot=("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"),
    ),
    frozenset({"image", *_SHARED_CLASSES, "AKIEC"}),
    frozenset({"image", "lesion_id", "diagnosis_confirm_type"}),
)

# Combalia et al., arXiv:1908.02288 (2019). UNK, none of the others, stands in the table of test images only: a missing
# label, unless a dataset.toml names it. Here akiec is divided into AK and SCC. AK alone is a precursor, which some
# papers count as benign; it stays malignant, so that the word means the same as in HAM10000 and ISIC 2018.
ISIC_2019 = Preset(
    Layout(
        name="ISIC 2019",
        image="image",
        label=ONE_HOT_LABEL,
        group="lesion_id",
        group_word="lesions",
        numeric=("age_approx",),
        categorical=("sex", "anatom_site_general"),
        preset="isic2019",
        subgroups=("sex", "age_approx", "anatom_site_general"),
        malignant=("mel", "bcc", "ak", "scc"),
        benign=_BENIGN_HAM,
        label_names=_in_lower_case((*_SHARED_CLASSES, "AK", "SCC", "UNK")),
        one_hot=("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"),
    ),
    frozenset({"image", *_SHARED_CLASSES, "AK", "SCC"}),
    frozenset({"image", "age_approx", "anatom_site_general", "sex"}),
)

# Rotemberg et al., Scientific Data 8, 34 (2021).
SIIM_ISIC_2020 = Preset(
    Layout(
        name="SIIM-ISIC 2020",
        image="image_name",
        label="target",
        group="patient_id",
        group_word="patients",
        numeric=("age_approx",),
        categorical=("sex", "anatom_site_general_challenge"),
        leaks=("diagnosis", "benign_malignant"),
        preset="siim2020",
        subgroups=("sex", "age_approx", "anatom_site_general_challenge"),
        malignant=("melanoma",),
        benign=("benign",),
        label_names=(("0", "benign"), ("1", "melanoma"), ("0.0", "benign"), ("1.0", "melanoma")),
    ),
    frozenset({"image_name", "patient_id", "target"}),
)

# Pacheco et al., Data in Brief 32, 106221 (2020): skin cancers are BCC, MEL and SCC (with Bowen's disease); actinic
# keratosis (ACK), nevus and seborrheic keratosis are skin diseases.
PAD_UFES_20 = Preset(
    Layout(
        name="PAD-UFES-20",
        image="img_id",
        label="diagnostic",
        group="patient_id",
        group_word="patients",
        numeric=("age", "diameter_1", "diameter_2", "fitspatrick"),
        categorical=(
            "gender",
            "region",
            "smoke",
            "drink",
            "background_father",
            "background_mother",
            "pesticide",
            "skin_cancer_history",
            "cancer_history",
            "has_piped_water",
            "has_sewage_system",
            "itch",
            "grew",
            "hurt",
            "changed",
            "bleed",
            "elevation",
        ),
        leaks=("biopsed",),
        preset="pad-ufes-20",
        subgroups=("gender", "age", "region", "fitspatrick"),
        malignant=("BCC", "MEL", "SCC"),
        benign=("ACK", "NEV", "SEK"),
    ),
    frozenset({"patient_id", "lesion_id", "img_id", "diagnostic"}),
)

# In the order in which they are looked for: HAM10000's own table tells more of its images than ISIC 2018's.
PRESETS = (HAM10000, ISIC_2018, ISIC_2019, SIIM_ISIC_2020, PAD_UFES_20)
