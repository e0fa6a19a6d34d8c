# ruff: noqa: RUF001 - letters that look like others are the point
"""What tables are made of in many scripts: headers, names, places, things, and the code pages they are written in."""

from __future__ import annotations

from typing import Final, NamedTuple


class Script(NamedTuple):
    """Words of one language, and encodings that have all of their letters."""

    encodings: tuple[str, ...]
    words: tuple[str, ...]


def _script(encodings: tuple[str, ...], words: str) -> Script:
    return Script(encodings, tuple(words.split()))


_WESTERN: Final = ("cp1252", "iso8859_15", "mac_roman", "cp850")
_CENTRAL: Final = ("cp1250", "iso8859_2", "cp852")

SCRIPTS: Final = {
    "Japanese": _script(
        ("cp932", "euc_jp"),
        "番号 名前 都市 住所 電話番号 商品名 数量 単価 合計金額 注文日 担当者 備考 会社名 部署 "
        "顧客番号 山田太郎 佐藤花子 鈴木一郎 高橋健太 渡辺美咲 伊藤翔太 中村さくら 小林誠 "
        "東京都千代田区 大阪府大阪市北区 北海道札幌市 神奈川県横浜市 愛知県名古屋市 福岡県福岡市 "
        "京都府京都市 株式会社東洋 りんご バナナ コーヒー ノートパソコン 冷蔵庫 完了 未処理 "
        "発送済み 送料無料 在庫あり 温度 湿度",
    ),
    "Simplified": _script(
        ("gb18030",),
        "订单号 客户 金额 备注 已发货 姓名 地址 电话 邮箱 城市 产品名称 数量 单价 日期 状态 部门 "
        "性别 年龄 王伟 李娜 张三 刘洋 陈静 杨帆 赵敏 黄磊 周杰 吴刚 徐丽 孙涛 北京市朝阳区 "
        "上海市浦东新区 广东省深圳市 四川省成都市 浙江省杭州市 湖北省武汉市 未付款 已完成 待处理 "
        "苹果 笔记本电脑 洗衣机 有限公司 温度 压力 正常 合格",
    ),
    "Traditional": _script(
        ("big5",),
        "訂單編號 客戶 金額 備註 已出貨 姓名 地址 電話 信箱 城市 產品名稱 數量 單價 日期 狀態 "
        "部門 性別 年齡 王偉 李娜 張三 陳志明 林淑芬 黃雅婷 吳宗憲 台北市信義區 高雄市左營區 "
        "臺中市西屯區 新竹市 桃園市中壢區 未付款 已完成 待處理 蘋果 筆記型電腦 有限公司 溫度 濕度 "
        "正常 合格",
    ),
    "Korean": _script(
        ("cp949",),
        "번호 이름 주소 전화번호 이메일 도시 상품명 수량 단가 합계 주문일 상태 비고 부서 성별 "
        "나이 김철수 이영희 박민수 최지은 정하늘 강동원 조현우 윤서연 서울특별시 부산광역시 "
        "대구광역시 인천광역시 경기도수원시 제주도 배송완료 결제대기 취소 사과 노트북 냉장고 "
        "주식회사 온도 습도",
    ),
    "Russian": _script(
        ("cp1251", "koi8_r", "iso8859_5", "cp866", "mac_cyrillic"),
        "имя город адрес телефон количество цена сумма дата статус Иван Пётр Ольга Наталья Сергей "
        "Дмитрий Москва Новосибирск Екатеринбург Казань Самара Омск Челябинск доставлен отменён "
        "яблоки молоко хлеб холодильник давление температура МОСКВА ИТОГО",
    ),
    "Greek": _script(
        ("cp1253", "iso8859_7"),
        "όνομα πόλη διεύθυνση τηλέφωνο ποσότητα τιμή σύνολο ημερομηνία Γιώργος Ελένη Δημήτρης "
        "Μαρία Κώστας Αθήνα Θεσσαλονίκη Πάτρα Ηράκλειο Λάρισα γάλα ψωμί τυρί",
    ),
    "Hebrew": _script(
        ("cp1255", "iso8859_8"),
        "שם עיר כתובת טלפון כמות מחיר תאריך דוד שרה משה רחל יוסף ירושלים חיפה באר-שבע אשדוד נתניה חלב לחם גבינה",
    ),
    "Arabic": _script(
        ("cp1256", "iso8859_6"),
        "الاسم المدينة العنوان الهاتف الكمية السعر التاريخ محمد فاطمة علي أحمد خالد القاهرة "
        "الرياض بغداد دمشق بيروت حليب خبز",
    ),
    "Thai": _script(
        ("cp874",),
        "ลำดับ ชื่อ เมือง ที่อยู่ จำนวน ราคา วันที่ สมชาย สมหญิง กรุงเทพมหานคร เชียงใหม่ ภูเก็ต ขอนแก่น นครราชสีมา ข้าว น้ำ",
    ),
    "German": _script(
        _WESTERN,
        "Größe Straße Währung Stück Prüfer Müller Schröder Jäger Weiß Köhler Günther München "
        "Düsseldorf Nürnberg Köln Würzburg Äpfel Öl Übergröße",
    ),
    "French": _script(
        _WESTERN,
        "prénom numéro quantité société référence créé Hélène François Noël Jérôme Zoé Évry "
        "Besançon Orléans Nîmes Béziers Étage crème gâteau",
    ),
    "Spanish": _script(
        _WESTERN,
        "año dirección teléfono descripción código Muñoz Peña Núñez García López José María "
        "Málaga Córdoba León Cádiz España niño Águila",
    ),
    "Portuguese": _script(
        _WESTERN,
        "endereço preço descrição código município João Conceição São Goiânia Brasília Paraná "
        "Ceará Maceió maçã pão ação Antônio",
    ),
    "Nordic": _script(
        _WESTERN,
        "Åse Jørgen Søren Bjørn Håkan Göran Malmö Göteborg Västerås Tromsø Ålesund København "
        "Århus Jyväskylä Hämeenlinna kött smør",
    ),
    "Polish": _script(
        _CENTRAL,
        "imię ilość wartość województwo miejscowość Łukasz Małgorzata Święta Wiśniewski Kamiński "
        "Dąbrowski Łódź Kraków Gdańsk Poznań Wrocław Białystok żółty mąka",
    ),
    "Czech": _script(
        _CENTRAL,
        "jméno příjmení město počet částka Jiří Dvořák Šárka Nováková Tomáš Černý Plzeň Ústí "
        "České Budějovice Děčín Třebíč žlutý mléko",
    ),
    "Hungarian": _script(
        _CENTRAL,
        "név város összeg mennyiség Győző Erzsébet Ödön Kovács Szőke Győr Székesfehérvár "
        "Hódmezővásárhely Pécs Érd tűzőgép gyümölcs fűrész",
    ),
    "Turkish": _script(
        ("cp1254",),
        "şehir sipariş müşteri açıklama tarihçe Ayşe Yılmaz Gülşah Çağrı Işık Doğan İstanbul "
        "İzmir Eskişehir Diyarbakır Muğla peynir süt",
    ),
    "Lithuanian": _script(
        ("cp1257", "iso8859_13"),
        "Žydrūnas Eglė Jūratė Šiauliai Panevėžys Klaipėda Kęstutis Rūta ąžuolas gatvė pavardė "
        "įmonė miestų žmonės prekė",
    ),
    "Latvian": _script(
        ("cp1257", "iso8859_13"),
        "Jānis Kārlis Rīga Liepāja Cēsis Jūrmala Ogrē Ņikita Māra uzvārds pilsēta adresē skaits "
        "Bērziņš Kalniņš Ozoliņš Rēzekne",
    ),
}

RARE: Final = {
    "Maltese": _script(
        ("iso8859_3",),
        "isem belt indirizz għadd prezz Ġorġ Ċensu Ġuże Ħamrun Żebbuġ Birżebbuġa Għarb Żabbar Żejtun Siġġiewi "
        "Xagħra Għajnsielem Mellieħa Ġdid ħobż ħalib ġobon żejt Ġunju",
    ),
    "Esperanto": _script(
        ("iso8859_3",),
        "nomo urbo adreso Ĝenevo ĉambro ŝuo ĵurnalo ĥoro aŭto ĉevalo ŝtono antaŭ ankaŭ ĝardeno ĉefurbo maŝino "
        "manĝaĵo kaĵo dimanĉo ĵaŭdo ruĝa ŝafo reĝo laŭ",
    ),
    "Welsh": _script(
        ("iso8859_14",),
        "enw tref Caerdydd tŷ dŵr Llŷn Gŵyl ŵyn sŵn cŵn môr tân Ynys Môn Gŵyr Pŵer gŵr blŵyddyn",
    ),
    "Portuguese of DOS": _script(
        ("cp860",),
        "João São Paulo Conceição ações também endereço número preço Brasília coração mãe irmã Luís Inês você "
        "três avó função situação Araújo Gonçalves Simões município região",
    ),
    "French of Canada": _script(
        ("cp863",),
        "Québec Montréal prénom éléphant garçon hôtel forêt Noël où élève français à bientôt Gaëlle façade "
        "crème brûlée Hélène François île Benoît naïve",
    ),
    "Greek of DOS": _script(
        ("cp737", "cp869"),
        "όνομα πόλη διεύθυνση τηλέφωνο ποσότητα τιμή σύνολο ημερομηνία Γιώργος Αθήνα Θεσσαλονίκη Μαρία "
        "Παπαδόπουλος Κώστας Ελένη Πάτρα Ηράκλειο Νίκος Δημήτρης Βόλος",
    ),
    "Ukrainian": _script(
        ("cp1251", "koi8_u", "cp1125", "mac_cyrillic"),
        "місто адреса телефон кількість ціна вулиця Київ Львів Харків Їжак Євген Іван Олексій Запоріжжя "
        "Чернівці Україна",
    ),
    "Macedonian": _script(
        ("cp1251", "iso8859_5", "cp855"),
        "име град адреса љубов њива џез Скопје Битола Ѓорѓи Куманово Ќерка Ѕвезда",
    ),
    "Kazakh": _script(
        ("kz1048", "ptcp154"),
        "аты қала мекенжай бағасы күні жұмыс үй Қазақстан Алматы Нұрсұлтан Әлия Шымкент Өскемен Ұлытау Ғалым Түркістан",
    ),
    "Tajik": _script(("koi8_t",), "ном шаҳр суроға ҷӯра Тоҷикистон Душанбе Хуҷанд Қурғонтеппа Ғафуров"),
}
"""Languages and pages met seldom: where there are few words they may be taken for another page, with a warning."""

HALF_WIDTH: Final = _script(
    ("cp932",),
    "ｺｰﾄﾞ ﾒｲｼｮｳ ﾄｳｷｮｳ ｵｵｻｶ ﾅｺﾞﾔ ﾔﾏﾀﾞ ｻﾄｳ ｽｽﾞｷ ﾀﾛｳ ﾊﾅｺ ｶﾌﾞｼｷｶﾞｲｼｬ ﾌﾘｶﾞﾅ ﾃﾞﾝﾜ ｼﾞｭｳｼｮ ｻｯﾎﾟﾛ ﾌｸｵｶ ﾋﾛｼﾏ ﾘﾝｺﾞ ｺｰﾋｰ ｾﾝﾀﾞｲ",
)
MEASURES: Final = (
    "temp °C", "µg/m³", "m²", "km²", "area (m²)", "m³/h", "kg/m³", "W/m²", "± 0.5", "20 µm", "price €", "£",
    "Nº", "1º", "µS/cm", "cm³", "½ cup", "°F", "§ 5", "© Acme", "“so”", "it’s", "A – B",
)  # fmt: skip
