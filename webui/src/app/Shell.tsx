import {
  AppShell,
  Burger,
  Button,
  Group,
  Menu,
  NavLink,
  Text,
  UnstyledButton,
  useMantineColorScheme,
} from '@mantine/core'
import { useDisclosure } from '@mantine/hooks'
import {
  IconChevronDown,
  IconHome2,
  IconLogout,
  IconPassword,
  IconPlus,
  IconServer2,
  IconShieldLock,
  IconTerminal2,
} from '@tabler/icons-react'
import { Link, Outlet, useRouterState } from '@tanstack/react-router'
import { useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { type Client, Provider } from 'urql'
import { ChangePasswordDialog } from '../features/access/ChangePasswordDialog'
import { SecondFactorDialog } from '../features/access/SecondFactorDialog'
import { logout, type Viewer } from '../shared/auth'
import { makeClient } from '../shared/client'
import { setLanguage } from '../shared/i18n/i18n'
import { follow } from '../shared/sessionStream'
import { useLogin } from '../shared/useLogin'
import { ConnectionBanner } from './ConnectionBanner'
import { PlaygroundLink } from './PlaygroundLink'
import { ScopeSelectors } from './ScopeSelectors'

export default function Shell() {
  const viewer = useLogin()
  const client = useClientOf(viewer?.id)
  if (!viewer || !client) return null
  return (
    <Provider value={client} key={viewer.id}>
      <Frame viewer={viewer} />
    </Provider>
  )
}

/** The API client of one login, with its live stream. */
function useClientOf(userId: string | undefined): Client | undefined {
  const [made, setMade] = useState<{ userId: string; client: Client }>()
  useEffect(() => {
    if (!userId) return
    const { client, close } = makeClient()
    const stop = follow(client)
    setMade({ userId, client })
    return () => {
      stop()
      close()
      setMade(undefined)
    }
  }, [userId])
  return made?.userId === userId ? made?.client : undefined
}

function Frame({ viewer }: { viewer: Viewer }) {
  const { t } = useTranslation()
  const [opened, { toggle, close }] = useDisclosure()
  const path = useRouterState({ select: (state) => state.location.pathname })
  const places = [
    { to: '/', label: t('app.home'), icon: IconHome2, active: path === '/' },
    { to: '/sessions', label: t('app.sessions'), icon: IconTerminal2, active: path.startsWith('/sessions') },
    ...(viewer.permissions.includes('read:agent')
      ? [{ to: '/agents', label: t('app.agents'), icon: IconServer2, active: path.startsWith('/agents') }]
      : []),
  ]
  return (
    <AppShell
      header={{ height: 60 }}
      navbar={{ width: 216, breakpoint: 'sm', collapsed: { mobile: !opened } }}
      padding="lg"
    >
      <a href="#content" className="skip">
        {t('app.skip')}
      </a>
      <AppShell.Header px="md">
        <Group h="100%" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={t('app.menu')} />
            <Link to="/" className="plain">
              <Group gap={8} wrap="nowrap">
                <img src="/icon.svg" alt="" width={28} height={28} />
                <Text fw={700} size="lg">
                  Berth
                </Text>
              </Group>
            </Link>
          </Group>
          <Group gap="sm" wrap="nowrap">
            <Group gap="md" visibleFrom="md" wrap="nowrap">
              <ScopeSelectors />
            </Group>
            <AccountMenu viewer={viewer} />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="sm">
        <Group gap="xs" hiddenFrom="md" mb="sm">
          <ScopeSelectors />
        </Group>
        <Button
          component={Link}
          to="/launch"
          leftSection={<IconPlus size={16} aria-hidden />}
          fullWidth
          mb="sm"
          onClick={close}
        >
          {t('app.start')}
        </Button>
        <nav aria-label={t('app.menu')}>
          {places.map((place) => (
            <NavLink
              key={place.to}
              component={Link}
              to={place.to}
              label={place.label}
              leftSection={<place.icon size={18} stroke={1.7} aria-hidden />}
              active={place.active}
              aria-current={place.active ? 'page' : undefined}
              onClick={close}
              style={{ borderRadius: 8 }}
            />
          ))}
        </nav>
        <PlaygroundLink />
      </AppShell.Navbar>
      <AppShell.Main id="content" tabIndex={-1}>
        <ConnectionBanner />
        <div className="page">
          <Outlet />
        </div>
      </AppShell.Main>
      <ChangePasswordDialog opened={viewer.mustChangePassword} onClose={() => undefined} must />
      <SecondFactorDialog
        opened={viewer.mustSetUpTotp && !viewer.mustChangePassword}
        onClose={() => undefined}
        must
      />
    </AppShell>
  )
}

function AccountMenu({ viewer }: { viewer: Viewer }) {
  const { t, i18n } = useTranslation()
  const { colorScheme, setColorScheme } = useMantineColorScheme()
  const [changing, change] = useDisclosure()
  const [securing, secure] = useDisclosure()
  return (
    <>
      <Menu position="bottom-end" width={230} withInitialFocusPlaceholder={false}>
        <Menu.Target>
          <UnstyledButton aria-label={`${t('app.account')}: ${viewer.name}`} px="xs" py={6}>
            <Group gap={6} wrap="nowrap">
              <Text size="sm" fw={500} visibleFrom="xs">
                {viewer.name}
              </Text>
              <IconChevronDown size={15} aria-hidden />
            </Group>
          </UnstyledButton>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Label>{viewer.email}</Menu.Label>
          <Menu.Item leftSection={<IconPassword size={16} aria-hidden />} onClick={change.open}>
            {t('login.change')}
          </Menu.Item>
          <Menu.Item leftSection={<IconShieldLock size={16} aria-hidden />} onClick={secure.open}>
            {t('factor.title')}
          </Menu.Item>
          <Menu.Divider />
          <Menu.Label>{t('app.language')}</Menu.Label>
          <Menu.Item onClick={() => setLanguage('en')} fw={i18n.language === 'en' ? 700 : 400} lang="en">
            English
          </Menu.Item>
          <Menu.Item onClick={() => setLanguage('ko')} fw={i18n.language === 'ko' ? 700 : 400} lang="ko">
            한국어
          </Menu.Item>
          <Menu.Label>{t('app.theme')}</Menu.Label>
          {(['light', 'dark', 'auto'] as const).map((scheme) => (
            <Menu.Item
              key={scheme}
              onClick={() => setColorScheme(scheme)}
              fw={colorScheme === scheme ? 700 : 400}
            >
              {t(`app.${scheme}`)}
            </Menu.Item>
          ))}
          <Menu.Divider />
          <Menu.Item leftSection={<IconLogout size={16} aria-hidden />} onClick={() => void logout()}>
            {t('app.logout')}
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
      <ChangePasswordDialog opened={changing} onClose={change.close} />
      <SecondFactorDialog opened={securing} onClose={secure.close} />
    </>
  )
}
