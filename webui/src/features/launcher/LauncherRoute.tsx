import {
  ActionIcon,
  Alert,
  Button,
  Checkbox,
  Collapse,
  Grid,
  Group,
  NumberInput,
  Paper,
  SegmentedControl,
  Select,
  Stack,
  Text,
  Textarea,
  TextInput,
  Title,
} from '@mantine/core'
import { useDisclosure } from '@mantine/hooks'
import { IconCircleCheck, IconClock, IconCube, IconPlus, IconRocket, IconX } from '@tabler/icons-react'
import { useNavigate } from '@tanstack/react-router'
import { type FormEvent, useEffect, useMemo, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useMutation, useQuery } from 'urql'
import { graphql } from '../../gql'
import { Empty } from '../../shared/Empty'
import { Failure } from '../../shared/Failure'
import { bytes } from '../../shared/format'
import { useScope } from '../../shared/scope'

const CHOICES = graphql(`
  query Choices($groupId: ID!, $resourceGroupId: ID!) {
    images(first: 100, filter: { active: true }) {
      nodes {
        id
        reference
        language
        version
        installed
        minimumSlots {
          name
          amount
          type {
            unit
          }
        }
      }
    }
    availability(groupId: $groupId, resourceGroupId: $resourceGroupId) {
      slots {
        name
        limit
        used
        free
        largestFree
        largestCapacity
      }
      sessions {
        limit
        used
      }
    }
  }
`)

const CREATE = graphql(`
  mutation CreateSession($input: CreateSessionInput!) {
    createSession(input: $input) {
      session {
        id
        name
        status
      }
      raised {
        name
        amount
      }
    }
  }
`)

const GIB = 2 ** 30
const SIZES = { small: [0.5, 0.5], medium: [1, 2], large: [2, 4] } as const
type Size = keyof typeof SIZES | 'custom'
type Choice = { language: string; imageId: string; size: Size; cpu: number; memory: number }

const KEY = 'berth.launcher'

function remembered(): Partial<Choice> {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? '{}')
  } catch {
    return {}
  }
}

export default function LauncherRoute() {
  const { t } = useTranslation()
  const navigate = useNavigate()
  const { groupId, resourceGroupId } = useScope()
  const [{ data, error }, reload] = useQuery({
    query: CHOICES,
    variables: { groupId: groupId ?? '', resourceGroupId: resourceGroupId ?? '' },
    pause: !groupId || !resourceGroupId,
    requestPolicy: 'cache-and-network',
  })
  const [made, create] = useMutation(CREATE)
  const [choice, setChoice] = useState<Choice>({
    language: '',
    imageId: '',
    size: 'small',
    cpu: 0.5,
    memory: 0.5,
    ...remembered(),
  })
  const [name, setName] = useState('')
  const [command, setCommand] = useState('')
  const [batch, setBatch] = useState(false)
  const [variables, setVariables] = useState<{ key: number; name: string; value: string }[]>([])
  const [advanced, { toggle }] = useDisclosure()

  const images = data?.images.nodes
  const languages = useMemo(
    () => [...new Set((images ?? []).map((image) => image.language))].sort(),
    [images],
  )
  const versions = (images ?? []).filter((image) => image.language === choice.language)
  const image = versions.find((one) => one.id === choice.imageId) ?? versions[0]
  useEffect(() => {
    if (languages.length > 0 && !languages.includes(choice.language))
      setChoice((before) => ({ ...before, language: languages[0] ?? '' }))
  }, [languages, choice.language])

  const wanted: Record<string, number> = { cpu: choice.cpu, mem: choice.memory * GIB }
  for (const least of image?.minimumSlots ?? [])
    wanted[least.name] = Math.max(wanted[least.name] ?? 0, Number(least.amount))
  const verdict = judge(wanted, data?.availability)

  async function submit(event: FormEvent) {
    event.preventDefault()
    if (!image || !groupId || !resourceGroupId) return
    localStorage.setItem(KEY, JSON.stringify({ ...choice, imageId: image.id }))
    const { data: done } = await create({
      input: {
        groupId,
        resourceGroupId,
        imageId: image.id,
        name: name || null,
        type: batch ? 'BATCH' : 'INTERACTIVE',
        startupCommand: command || null,
        environ: variables.filter((one) => one.name).map(({ name, value }) => ({ name, value })),
        slots: [
          { name: 'cpu', amount: String(choice.cpu) },
          { name: 'mem', amount: String(Math.round(choice.memory * GIB)) },
        ],
      },
    })
    if (done) await navigate({ to: '/sessions/$id', params: { id: done.createSession.session.id } as never })
  }

  if (error && !data) return <Failure error={error} retry={() => reload({ requestPolicy: 'network-only' })} />
  if (images && images.length === 0) {
    return (
      <Paper className="card" radius="md">
        <Empty icon={IconCube} title={t('launcher.noImages')} hint={t('launcher.noImagesHint')} />
      </Paper>
    )
  }
  return (
    <form onSubmit={submit}>
      <Title order={1} size="h2" mb="md">
        {t('launcher.title')}
      </Title>
      <Grid gap="lg">
        <Grid.Col span={{ base: 12, md: 8 }}>
          <Paper className="card" radius="md" p="lg">
            <Stack gap="md">
              {made.error && <Failure error={made.error} />}
              <Group grow align="flex-start">
                <Select
                  label={t('launcher.environment')}
                  data={languages}
                  value={choice.language || null}
                  onChange={(language) => setChoice({ ...choice, language: language ?? '', imageId: '' })}
                  allowDeselect={false}
                  required
                />
                <Select
                  label={t('launcher.version')}
                  data={versions.map((one) => ({
                    value: one.id,
                    label: `${one.version} · ${one.installed ? t('launcher.installed') : t('launcher.pull')}`,
                  }))}
                  value={image?.id ?? null}
                  onChange={(imageId) => setChoice({ ...choice, imageId: imageId ?? '' })}
                  allowDeselect={false}
                  required
                />
              </Group>
              <TextInput
                label={t('launcher.name')}
                description={t('launcher.nameHint')}
                value={name}
                onChange={(event) => setName(event.currentTarget.value)}
                maxLength={64}
              />
              <div>
                <Text size="sm" fw={500} mb={4} id="size-label">
                  {t('launcher.size')}
                </Text>
                <SegmentedControl
                  aria-labelledby="size-label"
                  fullWidth
                  value={choice.size}
                  onChange={(value) => {
                    const size = value as Size
                    const [cpu, memory] = size === 'custom' ? [choice.cpu, choice.memory] : SIZES[size]
                    setChoice({ ...choice, size, cpu, memory })
                  }}
                  data={(['small', 'medium', 'large', 'custom'] as const).map((size) => ({
                    value: size,
                    label: t(`launcher.${size}`),
                  }))}
                />
              </div>
              {choice.size === 'custom' && (
                <Group grow>
                  <NumberInput
                    label={t('launcher.cpu')}
                    value={choice.cpu}
                    onChange={(value) => setChoice({ ...choice, cpu: Number(value) || 0 })}
                    min={0.1}
                    step={0.5}
                    decimalScale={2}
                  />
                  <NumberInput
                    label={t('launcher.memory')}
                    value={choice.memory}
                    onChange={(value) => setChoice({ ...choice, memory: Number(value) || 0 })}
                    min={0.1}
                    step={0.5}
                    decimalScale={2}
                  />
                </Group>
              )}
              <Button
                variant="subtle"
                size="compact-sm"
                onClick={toggle}
                aria-expanded={advanced}
                w="fit-content"
              >
                {t('launcher.advanced')}
              </Button>
              <Collapse expanded={advanced}>
                <Stack gap="sm">
                  <Textarea
                    label={t('launcher.command')}
                    description={t('launcher.commandHint')}
                    value={command}
                    onChange={(event) => setCommand(event.currentTarget.value)}
                    autosize
                    minRows={2}
                  />
                  <Checkbox
                    label={t('launcher.batch')}
                    checked={batch}
                    onChange={(event) => setBatch(event.currentTarget.checked)}
                  />
                  <Text size="sm" fw={500}>
                    {t('launcher.variables')}
                  </Text>
                  {variables.map((one) => (
                    <Group key={one.key} gap="xs">
                      {(['name', 'value'] as const).map((field) => (
                        <TextInput
                          key={field}
                          aria-label={t(
                            field === 'name' ? 'launcher.variableName' : 'launcher.variableValue',
                          )}
                          placeholder={t(
                            field === 'name' ? 'launcher.variableName' : 'launcher.variableValue',
                          )}
                          value={one[field]}
                          onChange={(event) => {
                            const text = event.currentTarget.value
                            setVariables(
                              variables.map((other) =>
                                other.key === one.key ? { ...other, [field]: text } : other,
                              ),
                            )
                          }}
                          style={{ flex: 1 }}
                        />
                      ))}
                      <ActionIcon
                        variant="subtle"
                        color="gray"
                        aria-label={t('launcher.remove')}
                        onClick={() => setVariables(variables.filter((other) => other.key !== one.key))}
                      >
                        <IconX size={16} aria-hidden />
                      </ActionIcon>
                    </Group>
                  ))}
                  <Button
                    variant="default"
                    size="xs"
                    w="fit-content"
                    leftSection={<IconPlus size={14} aria-hidden />}
                    onClick={() => setVariables([...variables, { key: Date.now(), name: '', value: '' }])}
                  >
                    {t('launcher.addVariable')}
                  </Button>
                </Stack>
              </Collapse>
            </Stack>
          </Paper>
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 4 }}>
          <Paper className="card" radius="md" p="lg" pos="sticky" top={84}>
            <Stack gap="sm">
              <Title order={2} size="h5">
                {t('launcher.summary')}
              </Title>
              <Text size="sm">
                {image ? `${image.language} ${image.version}` : '–'}
                <br />
                {wanted.cpu} CPU · {bytes(wanted.mem ?? 0)}
              </Text>
              {image?.minimumSlots.map((least) =>
                (least.name === 'cpu' ? choice.cpu : choice.memory * GIB) < Number(least.amount) ? (
                  <Text key={least.name} size="xs" c="dimmed">
                    {t('launcher.minimum', {
                      amount: least.name === 'mem' ? bytes(least.amount) : `${least.amount} ${least.name}`,
                    })}
                  </Text>
                ) : null,
              )}
              {data && (
                <Alert
                  color={verdict === 'fits' ? 'teal' : verdict === 'waits' ? 'yellow' : 'red'}
                  icon={
                    verdict === 'fits' ? (
                      <IconCircleCheck size={18} aria-hidden />
                    ) : (
                      <IconClock size={18} aria-hidden />
                    )
                  }
                  p="sm"
                >
                  {t(`launcher.${verdict}`)}
                </Alert>
              )}
              {data?.availability.slots.map((slot) => (
                <Text key={slot.name} size="xs" c="dimmed">
                  {slot.name}:{' '}
                  {t('launcher.free', {
                    amount: slot.name === 'mem' ? bytes(slot.largestFree) : slot.largestFree,
                  })}
                </Text>
              ))}
              <Button
                type="submit"
                size="md"
                loading={made.fetching}
                disabled={!image || verdict === 'overLimit'}
                leftSection={<IconRocket size={18} aria-hidden />}
              >
                {t('launcher.launch')}
              </Button>
            </Stack>
          </Paper>
        </Grid.Col>
      </Grid>
    </form>
  )
}

type Availability = {
  slots: { name: string; limit?: string | null; largestFree: string; largestCapacity: string }[]
  sessions: { limit?: number | null; used: number }
}

function judge(
  wanted: Record<string, number>,
  found: Availability | undefined,
): 'fits' | 'waits' | 'never' | 'overLimit' {
  if (!found) return 'waits'
  let verdict: 'fits' | 'waits' | 'never' = 'fits'
  for (const slot of found.slots) {
    const asked = wanted[slot.name] ?? 0
    if (slot.limit !== null && slot.limit !== undefined && asked > Number(slot.limit)) return 'overLimit'
    if (asked > Number(slot.largestCapacity)) verdict = 'never'
    else if (asked > Number(slot.largestFree) && verdict === 'fits') verdict = 'waits'
  }
  const { limit, used } = found.sessions
  return verdict === 'fits' && limit !== null && limit !== undefined && used >= limit ? 'waits' : verdict
}
