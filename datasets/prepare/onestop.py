"""The archive of OneStop's pages, which sets of several tasks are made of: its files with their checksums."""

from __future__ import annotations

from vision_suite.datasets.prepare.fetch import Archive

SAMPLE = "scanpath_studio/sample_data/"
# Members of the package below that folder.
MEMBERS = {
    "fixations.csv": "862b95bf51cf915780bfb76693498a6cbe955b15f4a0cd14a8cccbdde6f9c062",
    "ia.csv": "cc3897202b4f862c21d269e769f9a21840553468651e9ac760fef515abaad794",
    "images/manifest.csv": "1eaa5d5852b698490b2752a76826ce4e17b78837225341d776b3b54ea6830a99",
    "images/2_1_1_Ele__paragraph.png": "c0b857976eb24b65d9e3586a5e97bb3638182286758232c9af4222ffc03c3004",
    "images/2_1_1_Ele__question.png": "14bb54d1a7784149f36aa222838045a08173ad1684d5bee265353dae93ea9646",
    "images/2_1_2_Ele__paragraph.png": "fe00dce795f332d903791637e68c40f999e9684d2d06d4fd238be516734b4a7c",
    "images/2_1_2_Ele__question.png": "5438a63b42d887f5ae6d49eedd17cd7daa1a3a9a1b1b740a661f41b4334fa811",
    "images/2_1_3_Adv__paragraph.png": "1c2746f9fa141082e5c69d5228395387f7df418c9ca6cf1ecb34bc7155f3fdee",
    "images/2_1_3_Adv__question.png": "f08cb0ec2ca45bec583713509c98cb890551603dda024ebff22f450afdbce15e",
    "images/2_1_4_Adv__paragraph.png": "c13d61e24edf413f5408134fa9f97caf334db6066d1c676d09a982935ad52b64",
    "images/2_1_4_Adv__question.png": "32eccb77ff26f84388ba6c220d385c4c6be29be8e6059c3e5220a5efc63f339e",
    "images/2_1_5_Adv__paragraph.png": "ada322639df40219f05f86d93f0f60a96f41e6ad9c86c6dbaa9e6a9c3f099820",
    "images/2_1_5_Adv__question.png": "627a6411fa60c95e45d26602325eaeef18886c273f83bc89e0301ed378acb087",
    "images/2_1_6_Ele__paragraph.png": "02ba0754beeb77492ceff29b5a4e04d46ddd3ae83c8685b5a0b399b9c312b683",
    "images/2_1_6_Ele__question.png": "9aea25c3cf9a88f1c3403cb97a645e689211a35531722c9c4769e92da0035d67",
    "images/2_2_1_Adv__paragraph.png": "e03957bd6ce0fa47a23fe3c2a026068b93ab8b3350242d0aacfbc9f690079eb5",
    "images/2_2_1_Adv__question.png": "958f33bc5f13663054a96a595ec9dd3adaa162f72df828999d26abc8083c1c52",
    "images/2_2_2_Adv__paragraph.png": "a14b81321e2ad6c027e675a104b3fc6e800ffe9a00958947a228dc6e77a57234",
    "images/2_2_2_Adv__question.png": "b5cd37e77220ede138fe82d4098689d788944346d7b5e67e1cb9d4901aae728a",
    "images/2_2_3_Adv__paragraph.png": "cea32018920c156e96b0caaa4274dcff13b0e3dcb86b433214a70ff3f044c285",
    "images/2_2_3_Adv__question.png": "3e59797a160b7db842f9dc5df1b42d5dc21636bc3698a1ea0cea0d92e63dbd27",
    "images/2_2_4_Ele__paragraph.png": "18a8656539e6bdb799bb185b60d85ceeb634fe250b48198fb634e255de4bff8d",
    "images/2_2_4_Ele__question.png": "a24c2edd5ddf42410ff177505c27a5725fdd0d178b213b43048dda303d20f854",
    "images/2_2_5_Ele__paragraph.png": "64c806112538f782a2ef8cb560dddba82b3ff77357db8985e738b73089cd95a5",
    "images/2_2_5_Ele__question.png": "ff901a33e9f474d0830a00b819ff6d08abe72710eab63b3816e07788a0bcf338",
    "images/2_2_6_Ele__paragraph.png": "b5aaa490f4ab4066954eccd3dcfdfcf5c4ef29dc876c70dae4638037bd59f253",
    "images/2_2_6_Ele__question.png": "512db050ad9d98f63938428e00445cbc67ce44ccbe17de34201b28f5510e205d",
}
ARCHIVE = Archive(
    client="pip",
    name="scanpath-studio",
    version="0.44.0",
    file="scanpath_studio-0.44.0-py3-none-any.whl",
    sha256="c236bbea1d43e905f501fa36c06b1d891a82741058de5918b68dd305bd52b0c9",
    members={SAMPLE + name: sha256 for name, sha256 in MEMBERS.items()},
)
